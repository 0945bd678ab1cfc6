// Package runner names what a function of a step-runner gets and gives.
package runner

import (
	"context"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"gitlab.com/gitlab-org/step-runner/proto"
)

// Kind is an input's type.
type Kind string

// The types.
const (
	KindString Kind = "string"
	KindBool   Kind = "bool"
	KindList   Kind = "list"
)

// BuiltinResult is what a function returns.
type BuiltinResult struct{}

// BuiltinFunction is a function.
type BuiltinFunction interface {
	Spec() *proto.Spec
	Run(ctx context.Context, builtinCtx BuiltinContext) (BuiltinResult, error)
}

// BuiltinContext is what a function can ask for.
type BuiltinContext interface {
	GetInput(name string, kind Kind) (*structpb.Value, error)
	GetInputWithDefault(
		name string, kind Kind, inputs map[string]*proto.Spec_Content_Input,
	) (*structpb.Value, error)
	GetJobVars() map[string]*structpb.Value
	GetEnvs() map[string]string
	GetEnvList() []string
	WorkDir() string
	Pipe() (io.Writer, io.Writer)
	GracefulExitDelay() time.Duration
	ListenCancel(ctx context.Context) (context.Context, context.CancelFunc)
}
