// Package di would put a step-runner together.
package di

import (
	"errors"
	"log/slog"

	"gitlab.com/gitlab-org/step-runner/pkg/runner"
	"gitlab.com/gitlab-org/step-runner/proto"
)

// ErrMissing is what everything that needs a step-runner ends in.
var ErrMissing = errors.New("gitlab-runner built from Go modules has no step-runner (`run:`): use `script:`")

// Container would hold a step-runner's parts.
type Container struct{}

// NewContainer makes an empty one.
func NewContainer(...func(*Container)) *Container { return &Container{} }

// WithBuiltinFunc does nothing.
func WithBuiltinFunc(string, runner.BuiltinFunction) func(*Container) { return func(*Container) {} }

// WithOperatorLogger does nothing.
func WithOperatorLogger(*slog.Logger) func(*Container) { return func(*Container) {} }

// StepRunnerService refuses.
func (*Container) StepRunnerService() (proto.StepRunnerServer, error) { return nil, ErrMissing }
