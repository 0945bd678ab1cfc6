// Package v4 has the types of a Helm chart's arguments that the plugin's own signatures name.
package v4

import (
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// PostRenderer is a program that changes the manifests of a chart.
type PostRenderer struct {
	Args    []string `pulumi:"args"`
	Command string   `pulumi:"command"`
}

// PostRendererInput is a PostRenderer that may not be known yet.
type PostRendererInput interface{ pulumi.Input }

// RepositoryOpts say where a chart is and how to get it.
type RepositoryOpts struct {
	CaFile   pulumi.AssetOrArchive `pulumi:"caFile"`
	CertFile pulumi.AssetOrArchive `pulumi:"certFile"`
	KeyFile  pulumi.AssetOrArchive `pulumi:"keyFile"`
	Password *string               `pulumi:"password"`
	Repo     *string               `pulumi:"repo"`
	Username *string               `pulumi:"username"`
}

// RepositoryOptsInput is a RepositoryOpts that may not be known yet.
type RepositoryOptsInput interface{ pulumi.Input }

type postRendererOutput struct{ *pulumi.OutputState }

func (postRendererOutput) ElementType() reflect.Type { return reflect.TypeFor[PostRenderer]() }

type repositoryOptsOutput struct{ *pulumi.OutputState }

func (repositoryOptsOutput) ElementType() reflect.Type { return reflect.TypeFor[RepositoryOpts]() }

func init() {
	// Pulumi makes an argument of an interface's type from the output that is registered for it.
	pulumi.RegisterOutputType(postRendererOutput{})
	pulumi.RegisterOutputType(repositoryOptsOutput{})
	pulumi.RegisterInputType(reflect.TypeFor[PostRendererInput](), postRendererOutput{})
	pulumi.RegisterInputType(reflect.TypeFor[RepositoryOptsInput](), repositoryOptsOutput{})
}
