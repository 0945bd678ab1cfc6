// Package v2 registers the objects of a YAML document, as the plugin's components ask for it.
package v2

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// RegisterResource registers an object of any kind by its token, with its outputs untyped.
func RegisterResource(ctx *pulumi.Context, apiVersion, kind, name string, props pulumi.Input,
	opts ...pulumi.ResourceOption) (pulumi.CustomResource, error) {
	group := apiVersion
	if !strings.Contains(group, "/") {
		group = "core/" + group
	}
	resource := &pulumi.CustomResourceState{}
	return resource, ctx.RegisterResource("kubernetes:"+group+":"+kind, name, props, resource, opts...)
}
