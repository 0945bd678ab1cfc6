// Package client names what would be asked of a step-runner.
package client

import "time"

// State is a job's state.
type State string

// The states that callers tell apart.
const (
	StateUnspecified State = "unspecified"
	StateSuccess     State = "success"
	StateCancelled   State = "cancelled"
)

func (s State) String() string { return string(s) }

// ErrorKind says why a job failed.
type ErrorKind string

// Why a job failed.
const (
	ErrorUnknown     ErrorKind = "unknown"
	ErrorInternal    ErrorKind = "internal"
	ErrorStepFailure ErrorKind = "step failure"
	ErrorCancelled   ErrorKind = "cancelled"
	ErrorTimeout     ErrorKind = "timeout"
)

// Status is how a job went.
type Status struct {
	State     State
	Message   string
	ErrorKind ErrorKind
}

// Variable is one variable of a job.
type Variable struct {
	Key    string
	Value  string
	File   bool
	Masked bool
}

// RunRequest asks for steps to be run.
type RunRequest struct {
	Id        string
	Timeout   *time.Duration
	WorkDir   string
	BuildDir  string
	Env       map[string]string
	Steps     string
	Variables []Variable
}
