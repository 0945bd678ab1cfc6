// Package v3 has the parts of a document that the CLI looks at.
package v3

import (
	"github.com/pb33f/libopenapi/datamodel/high/base"
	"github.com/pb33f/libopenapi/orderedmap"
	"go.yaml.in/yaml/v4"
)

type (
	Document struct {
		Info       *base.Info
		Paths      *Paths
		Components *Components
	}
	Components struct {
		Schemas *orderedmap.Map[string, *base.SchemaProxy]
	}
	Paths struct {
		PathItems *orderedmap.Map[string, *PathItem]
	}
	PathItem  struct{ Get, Post, Put, Delete, Patch, Head *Operation }
	Operation struct {
		OperationId, Summary, Description string
		Tags                              []string
		Deprecated                        *bool
		Parameters                        []*Parameter
		RequestBody                       *RequestBody
		Responses                         *Responses
		Extensions                        *orderedmap.Map[string, *yaml.Node]
	}
	Parameter struct {
		Name, In, Description string
		Required              *bool
		Schema                *base.SchemaProxy
	}
	RequestBody struct {
		Content *orderedmap.Map[string, *MediaType]
	}
	Responses struct {
		Codes   *orderedmap.Map[string, *Response]
		Default *Response
	}
	Response struct {
		Description string
		Content     *orderedmap.Map[string, *MediaType]
	}
	MediaType struct{ Schema *base.SchemaProxy }
)
