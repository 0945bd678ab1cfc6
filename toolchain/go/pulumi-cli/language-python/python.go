package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// interpreter is a Python. environment: the virtual environment that it belongs to, "" where it belongs to none.
type interpreter struct {
	path        string
	environment string
}

// description is what an interpreter tells about itself. Paths: where it finds modules.
type description struct {
	Version string
	Paths   []string
}

// environmentOf returns the directory of the virtual environment that a project asks for, "" where it asks for none.
// It refuses runtime options that this host does not know, which would else be ignored.
func environmentOf(info *pulumirpc.ProgramInfo) (string, error) {
	environment := ""
	for name, value := range info.GetOptions().AsMap() {
		switch {
		case name == "virtualenv":
			text, ok := value.(string)
			if !ok {
				return "", fmt.Errorf("the runtime option virtualenv in %s is %v: it has to be a directory",
					info.GetRootDirectory(), value)
			}
			environment = text
		case name == "toolchain" && value == "pip", name == "typechecker" && value == "none":
		default:
			return "", fmt.Errorf("the runtime option %s: %v in %s is not known to the language host of this toolchain, "+
				"which knows virtualenv and toolchain: pip; an official Pulumi on PATH knows the others",
				name, value, info.GetRootDirectory())
		}
	}
	if environment != "" && !filepath.IsAbs(environment) {
		environment = filepath.Join(info.GetRootDirectory(), environment)
	}
	return environment, nil
}

// pythonOf returns the interpreter that a project asks for. An environment that is missing is an error.
func pythonOf(info *pulumirpc.ProgramInfo) (interpreter, error) {
	environment, err := environmentOf(info)
	if err != nil {
		return interpreter{}, err
	}
	if environment == "" {
		return pythonOnPath()
	}
	path := filepath.Join(environment, "bin", "python")
	if _, err := os.Stat(path); err != nil {
		return interpreter{}, fmt.Errorf("%s is missing, and the runtime option virtualenv in %s asks for it: "+
			"pulumi install makes it", path, info.GetRootDirectory())
	}
	return interpreter{path: path, environment: environment}, nil
}

func pythonOnPath() (interpreter, error) {
	names := []string{"python3", "python"}
	if chosen := os.Getenv("PULUMI_PYTHON_CMD"); chosen != "" {
		names = []string{chosen}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return interpreter{path: path}, nil
		}
	}
	return interpreter{}, fmt.Errorf("%s is not on PATH", strings.Join(names, " or "))
}

// command makes one that is asked to end with ctx, and killed if it does not. environ: what its environment starts from.
func (python interpreter) command(ctx context.Context, environ []string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, python.path, arguments...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = graceToEnd
	command.Env = python.activated(environ)
	return command
}

// activated does what an environment's own script `activate` does.
func (python interpreter) activated(environ []string) []string {
	if python.environment == "" {
		return environ
	}
	bin := filepath.Dir(python.path)
	path := bin
	var kept []string
	for _, entry := range environ {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case "PATH":
			path = bin + string(os.PathListSeparator) + value
		case "PYTHONHOME", "VIRTUAL_ENV":
		default:
			kept = append(kept, entry)
		}
	}
	return append(kept, "PATH="+path, "VIRTUAL_ENV="+python.environment)
}

// describe asks the interpreter, which takes some 20 ms.
func (python interpreter) describe(ctx context.Context) (description, error) {
	// The working directory, which is the empty entry, may hold a json.py of the program's.
	const question = `import sys
sys.path = [path for path in sys.path if path]
import json
print(json.dumps({"Version": sys.version.split()[0], "Paths": sys.path}))`
	var told description
	output, err := python.command(ctx, os.Environ(), "-c", question).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w\n%s", err, bytes.TrimSpace(failed.Stderr))
	}
	if err == nil {
		err = json.Unmarshal(output, &told)
	}
	if err != nil {
		return told, fmt.Errorf("asking %s where its packages are: %w", python.path, err)
	}
	return told, nil
}
