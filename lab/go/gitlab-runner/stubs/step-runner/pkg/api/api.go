// Package api says where a step-runner would listen.
package api

import (
	"net"
	"os"
	"path/filepath"
)

// DefaultSocketPath is where a step-runner listens unless it is told otherwise.
func DefaultSocketPath() string { return filepath.Join(os.TempDir(), "step-runner.sock") }

// SocketAddr is the address of a socket at this path.
func SocketAddr(path string) *net.UnixAddr { return &net.UnixAddr{Name: path, Net: "unix"} }
