package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// version is that of this host, not of Pulumi.
const version = "1.0.0"

// The program's exit code after it has shown its user what is wrong.
const exitToldUser = 32

// What is asked to end is killed after this time. Where a program has ended, and one that it left behind holds its
// output, that is waited for as long.
const graceToEnd = 5 * time.Second

var errNoDebugger = errors.New("--attach-debugger is not known to the language host of this toolchain; an official " +
	"Pulumi on PATH knows it")

// host answers the engine. ending: done when this process is to end. shim: the script that runs programs. engine,
// tracing: addresses that programs are given.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	ending  context.Context
	shim    string
	engine  string
	tracing string
}

// untilEnd is done with a call, and when this process is to end.
func (h *host) untilEnd(call context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(call)
	forget := context.AfterFunc(h.ending, cancel)
	return ctx, func() {
		forget()
		cancel()
	}
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// GetRequiredPackages lists the plugins of all SDKs that are installed, used or not: that is all that can be known
// without running the program.
func (h *host) GetRequiredPackages(
	ctx context.Context, request *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	installed, err := installedPackages(ctx, request.GetInfo())
	if err != nil {
		return nil, err
	}
	var plugins []*pulumirpc.PackageDependency
	for _, each := range installed {
		plugin, err := each.plugin()
		if err != nil {
			return nil, err
		}
		if plugin != nil {
			plugins = append(plugins, plugin)
		}
	}
	return &pulumirpc.GetRequiredPackagesResponse{Packages: plugins}, nil
}

func (h *host) GetProgramDependencies(
	ctx context.Context, request *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	installed, err := installedPackages(ctx, request.GetInfo())
	if err != nil {
		return nil, err
	}
	if !request.GetTransitiveDependencies() {
		installed = withoutRequired(installed)
	}
	var found []*pulumirpc.DependencyInfo
	for _, each := range installed {
		found = append(found, &pulumirpc.DependencyInfo{Name: each.name, Version: each.version})
	}
	return &pulumirpc.GetProgramDependenciesResponse{Dependencies: found}, nil
}

func (h *host) About(ctx context.Context, request *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	python, err := pythonOf(request.GetInfo())
	if err != nil {
		return nil, err
	}
	told, err := python.describe(ctx)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{Executable: python.path, Version: told.Version}, nil
}

// Run runs a program to its end. Its output goes to that of this process, where the engine looks for it.
func (h *host) Run(ctx context.Context, request *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if request.GetAttachDebugger() {
		return nil, errNoDebugger
	}
	python, err := pythonOf(request.GetInfo())
	if err != nil {
		return nil, err
	}
	config, err := textOf(request.GetConfig(), "{}")
	if err != nil {
		return nil, err
	}
	secretKeys, err := textOf(request.GetConfigSecretKeys(), "[]")
	if err != nil {
		return nil, err
	}
	ctx, cancel := h.untilEnd(ctx)
	defer cancel()
	command := python.command(ctx, os.Environ(), h.programArguments(request)...)
	command.Env = append(command.Env, "PULUMI_CONFIG="+config, "PULUMI_CONFIG_SECRET_KEYS="+secretKeys)
	// Not our own files, which a process that the program leaves behind would hold, and the engine wait for.
	command.Stdout, command.Stderr = struct{ io.Writer }{os.Stdout}, struct{ io.Writer }{os.Stderr}

	code, err := runToEnd(command)
	switch {
	case err != nil:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program could not be run: %v", err)}, nil
	case code == 0:
		return &pulumirpc.RunResponse{}, nil
	case code == exitToldUser:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case code < 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("program ended by signal: %v", syscall.Signal(-code))}, nil
	}
	return &pulumirpc.RunResponse{Error: fmt.Sprintf("program exited with non-zero exit code: %d", code)}, nil
}

// textOf writes a value as JSON, and nothing as empty, which is what programs expect.
func textOf(value any, empty string) (string, error) {
	text, err := json.Marshal(value)
	if err != nil || string(text) == "null" {
		return empty, err
	}
	return string(text), nil
}

func (h *host) programArguments(request *pulumirpc.RunRequest) []string {
	arguments := []string{h.shim}
	for _, option := range [][2]string{
		{"--monitor", request.GetMonitorAddress()},
		{"--engine", h.engine},
		{"--project", request.GetProject()},
		{"--root_directory", request.GetInfo().GetRootDirectory()},
		{"--stack", request.GetStack()},
		{"--pwd", request.GetPwd()},
		{"--dry_run", strconv.FormatBool(request.GetDryRun())},
		{"--parallel", strconv.Itoa(int(request.GetParallel()))},
		{"--tracing", h.tracing},
		{"--organization", request.GetOrganization()},
	} {
		if option[1] != "" {
			arguments = append(arguments, option[:]...)
		}
	}
	program := request.GetInfo().GetEntryPoint()
	if program == "" {
		program = "." // the directory, that is, its __main__.py
	}
	return append(append(arguments, program), request.GetArgs()...)
}

// RunPlugin runs a policy pack or a plugin that is written in Python, until the engine ends the call.
func (h *host) RunPlugin(request *pulumirpc.RunPluginRequest, server pulumirpc.LanguageRuntime_RunPluginServer) error {
	if request.GetAttachDebugger() {
		return errNoDebugger
	}
	python, err := pythonOf(request.GetInfo())
	if err != nil {
		return err
	}
	var sending sync.Mutex
	directory := request.GetInfo().GetProgramDirectory()
	arguments := []string{"-u"}
	environ := request.GetEnv()
	if request.GetKind() == "analyzer" {
		arguments = append(append(arguments, "-m", "pulumi.policy"), request.GetArgs()...)
		arguments = append(arguments, directory)
		// It is started in the directory of the program that it judges, whose modules must not shadow its own.
		environ = append(environ, "PYTHONSAFEPATH=1")
	} else {
		program := filepath.Join(directory, request.GetInfo().GetEntryPoint())
		arguments = append(append(arguments, program), request.GetArgs()...)
	}
	ctx, cancel := h.untilEnd(server.Context())
	defer cancel()
	command := python.command(ctx, environ, arguments...)
	command.Dir = request.GetPwd()
	command.Stdout = writer{&sending, func(text []byte) error {
		return server.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stdout{Stdout: text}})
	}}
	command.Stderr = writer{&sending, func(text []byte) error {
		return server.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stderr{Stderr: text}})
	}}

	code, err := runToEnd(command)
	if err != nil {
		return fmt.Errorf("the plugin in %s could not be run: %w", directory, err)
	}
	return server.Send(&pulumirpc.RunPluginResponse{
		Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: int32(code)},
	})
}

// InstallDependencies makes the virtual environment that the project asks for, and fills it from requirements.txt.
func (h *host) InstallDependencies(
	request *pulumirpc.InstallDependenciesRequest, server pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	ctx, cancel := h.untilEnd(server.Context())
	defer cancel()
	var sending sync.Mutex
	run := func(python interpreter, arguments ...string) error {
		command := python.command(ctx, os.Environ(), arguments...)
		command.Dir = request.GetInfo().GetProgramDirectory()
		command.Stdout = writer{&sending, func(text []byte) error {
			return server.Send(&pulumirpc.InstallDependenciesResponse{Stdout: text})
		}}
		command.Stderr = writer{&sending, func(text []byte) error {
			return server.Send(&pulumirpc.InstallDependenciesResponse{Stderr: text})
		}}
		code, err := runToEnd(command)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s: exit code %d", command, code)
		}
		return err
	}
	environment, err := environmentOf(request.GetInfo())
	if err != nil {
		return err
	}
	if environment != "" {
		if _, err := os.Stat(filepath.Join(environment, "bin", "python")); err != nil {
			python, err := pythonOnPath()
			if err == nil {
				err = run(python, "-m", "venv", environment)
			}
			if err != nil {
				return fmt.Errorf("making the virtual environment %s: %w", environment, err)
			}
		}
	}
	python, err := pythonOf(request.GetInfo())
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(request.GetInfo().GetProgramDirectory(), "requirements.txt")); err == nil {
		return run(python, "-m", "pip", "install", "-r", "requirements.txt")
	}
	return nil
}

// writer sends what a process prints as messages of a stream, which takes one at a time.
type writer struct {
	sending *sync.Mutex
	send    func([]byte) error
}

func (w writer) Write(text []byte) (int, error) {
	w.sending.Lock()
	defer w.sending.Unlock()
	if err := w.send(text); err != nil {
		return 0, err
	}
	return len(text), nil
}

// runToEnd returns the exit code, or minus the signal that ended the process; an error where it could not be run.
func runToEnd(command *exec.Cmd) (int, error) {
	err := command.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return -int(status.Signal()), nil
		}
		return failed.ExitCode(), nil
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return 0, nil // it has ended well, but something that it left behind still holds its output
	}
	return 0, err
}
