// Package proxy would connect a process's input and output to a step-runner.
package proxy

import (
	"io"

	"gitlab.com/gitlab-org/step-runner/pkg/di"
)

// Proxy refuses.
func Proxy(io.Reader, io.Writer, io.ReadWriter) error { return di.ErrMissing }
