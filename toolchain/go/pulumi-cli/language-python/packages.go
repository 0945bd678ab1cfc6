package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// distribution is an installed package. name: as it spells itself. location: where its modules are. requires: the
// normal names of what it needs, without what only its extras need.
type distribution struct {
	name     string
	version  string
	location string
	requires []string
}

var (
	separators  = regexp.MustCompile(`[-_.]+`)
	requirement = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*`)
	ofAnExtra   = regexp.MustCompile(`;.*\bextra\b`)
	release     = regexp.MustCompile(`^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:(a|b|rc)(\d+))?$`)
)

// installedPackages reads what the interpreter of a project has, as pip lists it, from the packages' own metadata.
// Where a package is there twice, the interpreter uses the first one.
func installedPackages(ctx context.Context, info *pulumirpc.ProgramInfo) ([]distribution, error) {
	python, err := pythonOf(info)
	if err != nil {
		return nil, err
	}
	told, err := python.describe(ctx)
	if err != nil {
		return nil, err
	}
	var found []distribution
	seen := map[string]bool{}
	for _, location := range told.Paths {
		// Not by filepath.Glob, for which brackets in the location's own name would be a pattern.
		files, err := fs.Glob(os.DirFS(location), "*.dist-info/METADATA")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			each, err := readMetadata(filepath.Join(location, file))
			if err != nil {
				return nil, err
			}
			if normal := normalName(each.name); each.name != "" && !seen[normal] {
				seen[normal] = true
				each.location = location
				found = append(found, each)
			}
		}
	}
	slices.SortFunc(found, func(a, b distribution) int { return strings.Compare(normalName(a.name), normalName(b.name)) })
	return found, nil
}

// readMetadata reads the headers of a METADATA file; what follows them is the package's description.
func readMetadata(path string) (distribution, error) {
	var found distribution
	file, err := os.Open(path)
	if err != nil {
		return found, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && lines.Text() != "" {
		header, value, _ := strings.Cut(lines.Text(), ": ")
		switch header {
		case "Name":
			found.name = value
		case "Version":
			found.version = value
		case "Requires-Dist":
			if !ofAnExtra.MatchString(value) {
				found.requires = append(found.requires, normalName(requirement.FindString(value)))
			}
		}
	}
	return found, lines.Err()
}

// withoutRequired leaves out what another package needs on some platform.
func withoutRequired(installed []distribution) []distribution {
	required := map[string]bool{}
	for _, each := range installed {
		for _, name := range each.requires {
			required[name] = true
		}
	}
	return slices.DeleteFunc(installed, func(each distribution) bool { return required[normalName(each.name)] })
}

// plugin tells which plugin a package wants: nil where it wants none. What its pulumi-plugin.json says counts; a package
// of Pulumi's own without one is named after its plugin.
func (each distribution) plugin() (*pulumirpc.PackageDependency, error) {
	var told struct {
		Resource         *bool
		Name             string
		Version          string
		Server           string
		Parameterization *struct {
			Name    string
			Version string
			Value   []byte
		}
	}
	normal := normalName(each.name)
	path := filepath.Join(each.location, strings.ReplaceAll(normal, "-", "_"), "pulumi-plugin.json")
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !strings.HasPrefix(normal, "pulumi-") || normal == "pulumi-policy" {
			return nil, nil
		}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &told); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if told.Resource == nil || !*told.Resource {
			return nil, nil
		}
	}
	plugin := &pulumirpc.PackageDependency{
		Name: told.Name, Kind: "resource", Version: told.Version, Server: told.Server,
	}
	if plugin.Name == "" {
		plugin.Name = strings.TrimPrefix(normal, "pulumi-")
	}
	if plugin.Version == "" {
		plugin.Version = semanticVersion(each.version)
	}
	if told.Parameterization != nil {
		plugin.Parameterization = &pulumirpc.PackageParameterization{
			Name:    told.Parameterization.Name,
			Version: told.Parameterization.Version,
			Value:   told.Parameterization.Value,
		}
	}
	return plugin, nil
}

// normalName makes one of all spellings of a package's name, as package indexes do.
func normalName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// semanticVersion spells a version of a Python package as plugins spell theirs; "" (any) where that cannot be.
func semanticVersion(version string) string {
	parts := release.FindStringSubmatch(version)
	if parts == nil {
		return ""
	}
	for i := range parts {
		if parts[i] == "" && i <= 3 {
			parts[i] = "0"
		}
	}
	spelled := strings.Join(parts[1:4], ".")
	if stage := map[string]string{"a": "alpha", "b": "beta", "rc": "rc"}[parts[4]]; stage != "" {
		spelled += "-" + stage + "." + parts[5]
	}
	return spelled
}
