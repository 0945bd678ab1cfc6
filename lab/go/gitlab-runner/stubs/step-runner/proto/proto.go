// Package proto names the messages of a step-runner.
package proto

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// ValueType is an input's type.
type ValueType int32

// The types.
const (
	ValueType_string ValueType = iota
	ValueType_boolean
	ValueType_array
)

// Spec says what inputs a function has.
type Spec struct {
	Spec *Spec_Content
}

// GetSpec returns the inner part.
func (s *Spec) GetSpec() *Spec_Content { return s.Spec }

// Spec_Content holds inputs by name.
type Spec_Content struct {
	Inputs map[string]*Spec_Content_Input
}

// GetInputs returns the inputs by name.
func (c *Spec_Content) GetInputs() map[string]*Spec_Content_Input { return c.Inputs }

// Spec_Content_Input is one input.
type Spec_Content_Input struct {
	Type      ValueType
	Default   *structpb.Value
	Sensitive bool
}

// StepRunnerServer would answer calls.
type StepRunnerServer interface{}

// RegisterStepRunnerServer does nothing.
func RegisterStepRunnerServer(grpc.ServiceRegistrar, StepRunnerServer) {}
