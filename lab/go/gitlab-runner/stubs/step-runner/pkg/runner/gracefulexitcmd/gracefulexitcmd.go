// Package gracefulexitcmd starts programs that are asked to end before they are killed.
package gracefulexitcmd

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// New makes a command that gets SIGTERM when the context ends, and is killed after the delay.
func New(ctx context.Context, delay time.Duration, name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, arguments...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = delay
	return command
}
