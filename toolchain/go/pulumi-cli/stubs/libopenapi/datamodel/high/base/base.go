// Package base has what the CLI looks at of a schema.
package base

import (
	"github.com/pb33f/libopenapi/orderedmap"
	"go.yaml.in/yaml/v4"
)

type (
	Info   struct{ Version string }
	Schema struct {
		Type, Required                []string
		Description, Format, Pattern  string
		AllOf, OneOf, AnyOf           []*SchemaProxy
		Properties                    *orderedmap.Map[string, *SchemaProxy]
		Items, AdditionalProperties   *SchemaOrBool
		Discriminator                 *Discriminator
		Minimum, Maximum, MultipleOf  *float64
		MinLength, MaxLength          *int64
		Nullable, ReadOnly, WriteOnly *bool
		Default                       *yaml.Node
		Enum                          []*yaml.Node
		Extensions                    *orderedmap.Map[string, *yaml.Node]
	}
	SchemaProxy   struct{}
	SchemaOrBool  struct{ A *SchemaProxy }
	Discriminator struct {
		PropertyName string
		Mapping      *orderedmap.Map[string, string]
	}
	Low struct{}
)

func (*SchemaProxy) Schema() *Schema { return nil }

func (*SchemaOrBool) IsA() bool { return false }

func (*Schema) GoLow() *Low { return nil }

func (*Schema) MarshalJSONInline() ([]byte, error) { return nil, nil }

func (*Low) Hash() uint64 { return 0 }
