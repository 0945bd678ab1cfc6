// Package kubernetes has what the plugin takes from Pulumi's Go SDK for Kubernetes, written anew: that SDK declares every
// kind as Go types, which a plugin never looks at and which take most of an hour to compile.
package kubernetes

import "reflect"

// UntypedArgs are the inputs of a resource of any kind.
type UntypedArgs map[string]any

// ElementType is what Pulumi asks of inputs.
func (UntypedArgs) ElementType() reflect.Type {
	return reflect.TypeFor[map[string]any]()
}
