// Package schema is the shape of `run:`.
package schema

// StepInputs holds a step's inputs by name.
type StepInputs map[string]any

// Step is one step of `run:`.
type Step struct {
	Name   *string    `json:"name,omitempty" yaml:"name,omitempty"`
	Step   any        `json:"step,omitempty" yaml:"step,omitempty"`
	Func   any        `json:"func,omitempty" yaml:"func,omitempty"`
	Script *string    `json:"script,omitempty" yaml:"script,omitempty"`
	Inputs StepInputs `json:"inputs,omitempty" yaml:"inputs,omitempty"`
	Run    []Step     `json:"run,omitempty" yaml:"run,omitempty"`
}
