// Package api names what a wrapper around gitlab-runner and its callers would say to each other.
package api

import (
	"context"
	"errors"

	"github.com/sirupsen/logrus"
)

// Status is the state of the wrapped process.
type Status string

// The states of the wrapped process.
const (
	StatusUnknown    Status = "unknown"
	StatusRunning    Status = "running"
	StatusInShutdown Status = "in shutdown"
	StatusStopped    Status = "stopped"
)

func (s Status) String() string { return string(s) }

// ErrProcessNotInitialized says that nothing is wrapped yet.
var ErrProcessNotInitialized = errors.New("process not initialized")

// ShutdownCallbackDef says what is to be called once the process has ended.
type ShutdownCallbackDef interface {
	URL() string
	Method() string
}

// InitGracefulShutdownRequest asks for the end of the process.
type InitGracefulShutdownRequest interface {
	ShutdownCallbackDef() ShutdownCallbackDef
}

// ShutdownCallback is what is called once the process has ended.
type ShutdownCallback interface {
	Run(ctx context.Context)
}

// NewShutdownCallback makes none: the wrapper command is not in this build.
func NewShutdownCallback(logrus.FieldLogger, ShutdownCallbackDef) ShutdownCallback { return nil }
