// Command pulumi-resource-kubernetes is the official Pulumi plugin for Kubernetes, with its schema beside it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	schema, err := besideExecutable("schema.json")
	if err == nil {
		var mapping []byte
		if mapping, err = besideExecutable("terraform-mapping.json"); err == nil {
			provider.Serve("kubernetes", version.Version, schema, mapping)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "pulumi-resource-kubernetes:", err)
	os.Exit(1)
}

func besideExecutable(name string) ([]byte, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(filepath.Dir(executable), name))
}
