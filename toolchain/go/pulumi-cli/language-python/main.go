// Command pulumi-language-python is a language host for Pulumi programs, policy packs and plugins in Python: the engine
// starts it, reads its port from the first line that it prints, and asks it over gRPC to run things.
//
// It is the project's own because the official one is in no package registry. It knows the runtime options
// `virtualenv` and `toolchain: pip`, writes no code (`pulumi convert`, `pulumi package add`), and reads from the
// environment's own files which packages are there, where asking pip would cost every start a second.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// The shim from Pulumi's own SDK, beside this program, which runs a program in Python.
const shimName = "pulumi-language-python-exec"

// An engine that was killed is noticed within this time, and what runs for it is ended.
const healthInterval = 30 * time.Second

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-python:", err)
		os.Exit(1)
	}
}

func serve() error {
	tracing := flag.String("tracing", "", "address that the program sends its traces to")
	flag.Parse()
	if flag.NArg() == 0 {
		return fmt.Errorf("no address of an engine was given: it is the Pulumi CLI that starts this program")
	}
	engine := flag.Arg(0)
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	shim := filepath.Join(filepath.Dir(executable), shimName)
	if _, err := os.Stat(shim); err != nil {
		return fmt.Errorf("%s is missing beside this program; python3 -m toolchain install puts it there", shimName)
	}

	// The engine ends this program by SIGINT, at which what it runs has to end first.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	stop := make(chan bool)
	context.AfterFunc(ctx, func() { close(stop) })
	if err := rpcutil.Healthcheck(ctx, engine, healthInterval, cancel); err != nil {
		return fmt.Errorf("watching the engine at %s: %w", engine, err)
	}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: stop,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, &host{
				ending: ctx, shim: shim, engine: engine, tracing: *tracing,
			})
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	fmt.Println(handle.Port)
	return <-handle.Done
}
