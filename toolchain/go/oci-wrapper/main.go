// Command runc stands before the real runc on a Docker daemon's PATH and takes out of every container's
// configuration the capabilities that this machine's bounding set lacks.
//
// Some virtual machines lack a capability (often CAP_SYS_RESOURCE alone). The real runc then refuses every
// `--privileged` container with "unable to apply caps", although the container could do without.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Linux capabilities by number, as in <linux/capability.h>.
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Options of runc before its subcommand that take a value as the next argument.
var globalOptionsWithValue = map[string]bool{"root": true, "log": true, "log-format": true, "criu": true, "rootless": true}

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "oci-wrapper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	lacking, err := lackingCapabilities("/proc/self/status")
	if err != nil {
		return err
	}
	if err := strip(args[1:], lacking); err != nil {
		return err
	}
	runc, err := realRunc(os.Getenv("PATH"))
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{runc}, args[1:]...), os.Environ())
}

// strip rewrites the file that a create, run or exec reads its capabilities from; other commands have none.
func strip(args []string, lacking map[string]bool) error {
	command, rest := subcommand(args)
	switch command {
	case "create", "run":
		config := filepath.Join(option(rest, ".", "bundle", "b"), "config.json")
		return rewrite(config, func(document map[string]json.RawMessage) error {
			return within(document, "process", func(process map[string]json.RawMessage) error {
				return stripProcess(process, lacking)
			})
		})
	case "exec":
		if file := option(rest, "", "process", "p"); file != "" {
			return rewrite(file, func(process map[string]json.RawMessage) error { return stripProcess(process, lacking) })
		}
	}
	return nil
}

func stripProcess(process map[string]json.RawMessage, lacking map[string]bool) error {
	return within(process, "capabilities", func(sets map[string]json.RawMessage) error {
		for set, raw := range sets {
			var names []string
			if err := json.Unmarshal(raw, &names); err != nil {
				return fmt.Errorf("capabilities.%s: %w", set, err)
			}
			kept := []string{}
			for _, name := range names {
				if !lacking[name] {
					kept = append(kept, name)
				}
			}
			sets[set], _ = json.Marshal(kept)
		}
		return nil
	})
}

// within edits the object under key; everything beside it keeps its exact text, so no number loses a digit.
func within(parent map[string]json.RawMessage, key string, edit func(map[string]json.RawMessage) error) error {
	var child map[string]json.RawMessage
	if err := json.Unmarshal(orNull(parent[key]), &child); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if child == nil {
		return nil
	}
	if err := edit(child); err != nil {
		return err
	}
	raw, err := json.Marshal(child)
	parent[key] = raw
	return err
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func rewrite(path string, edit func(map[string]json.RawMessage) error) error {
	before, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // runc words this error better
	}
	if err != nil {
		return err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(before, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := edit(document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	after, err := json.Marshal(document)
	if err != nil {
		return err
	}
	// In place: the process file may be an open temporary file whose owner and mode matter.
	return os.WriteFile(path, after, 0o600)
}

// subcommand splits runc's arguments into the command's name and what follows it.
func subcommand(args []string) (string, []string) {
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			return args[i], args[i+1:]
		}
		if globalOptionsWithValue[strings.TrimLeft(args[i], "-")] {
			i++
		}
	}
	return "", nil
}

// option finds --name VALUE or --name=VALUE (one dash or two, as runc's parser takes both).
func option(args []string, fallback string, names ...string) string {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		key, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		for _, name := range names {
			if key == name && joined {
				return value
			}
			if key == name && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return fallback
}

// lackingCapabilities reads which of the known capabilities are absent from the bounding set.
func lackingCapabilities(status string) (map[string]bool, error) {
	text, err := os.ReadFile(status)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		key, value, _ := strings.Cut(line, ":")
		if key != "CapBnd" {
			continue
		}
		bounding, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: CapBnd: %w", status, err)
		}
		lacking := map[string]bool{}
		for number, name := range capabilityNames {
			if bounding&(1<<uint(number)) == 0 {
				lacking[name] = true
			}
		}
		return lacking, nil
	}
	return nil, fmt.Errorf("%s has no line CapBnd", status)
}

// realRunc is the first runc on the path that is not this program.
func realRunc(path string) (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	for _, directory := range append(filepath.SplitList(path), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin") {
		candidate := filepath.Join(directory, "runc")
		info, err := os.Stat(candidate)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !os.SameFile(self, info) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no other runc on PATH (%s): install runc", path)
}
