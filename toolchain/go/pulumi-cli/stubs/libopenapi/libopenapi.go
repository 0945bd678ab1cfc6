// Package libopenapi stands in for the reader of OpenAPI documents, in which `pulumi api` looks up Pulumi Cloud's API.
package libopenapi

import (
	"errors"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

type (
	// Document cannot be made.
	Document struct{}
	// DocumentModel has, as all types here and below, the fields that the CLI reads and writes, and no more.
	DocumentModel struct{ Model v3.Document }
)

// NewDocument refuses every document.
func NewDocument([]byte) (*Document, error) {
	return nil, errors.New("this pulumi was built without a reader of OpenAPI: call Pulumi Cloud's API with an official one")
}

func (*Document) BuildV3Model() (*DocumentModel, error) { return nil, nil }
