// Command pulumi-resource-docker is the Pulumi plugin for Docker: the Terraform provider behind Pulumi's bridge.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/terraform-providers/terraform-provider-docker/pulumi-resource-docker/provider"
)

func main() {
	schema, err := schemaBesideExecutable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-docker:", err)
		os.Exit(1)
	}
	tfbridge.Main("docker", provider.Version, provider.Info(), schema)
}

func schemaBesideExecutable() ([]byte, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(filepath.Dir(executable), "schema.json"))
}
