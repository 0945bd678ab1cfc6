// Package iam stands in for AWS's own, of which the CLI only uses a few calls, to set up an account for Pulumi Cloud.
package iam

import (
	"context"
	"errors"
)

var errMissing = errors.New("this pulumi was built without AWS's IAM: set up the account with an official one")

type (
	// Client refuses every call.
	Client struct{}
	// Options, as all types below, have the names and fields that the CLI writes, and no more.
	Options struct{}

	AddClientIDToOpenIDConnectProviderInput  struct{ ClientID, OpenIDConnectProviderArn *string }
	AddClientIDToOpenIDConnectProviderOutput struct{}
	AttachRolePolicyInput                    struct{ PolicyArn, RoleName *string }
	AttachRolePolicyOutput                   struct{}
	CreateOpenIDConnectProviderInput         struct {
		ClientIDList, ThumbprintList []string
		Url                          *string
	}
	CreateOpenIDConnectProviderOutput struct{}
	CreateRoleInput                   struct{ AssumeRolePolicyDocument, Description, RoleName *string }
	CreateRoleOutput                  struct{}
	UpdateAssumeRolePolicyInput       struct{ PolicyDocument, RoleName *string }
	UpdateAssumeRolePolicyOutput      struct{}
)

// NewFromConfig takes the configuration of AWS's SDK.
func NewFromConfig[Config any](Config) *Client { return &Client{} }

func (*Client) AddClientIDToOpenIDConnectProvider(
	context.Context, *AddClientIDToOpenIDConnectProviderInput, ...func(*Options),
) (*AddClientIDToOpenIDConnectProviderOutput, error) {
	return nil, errMissing
}

func (*Client) AttachRolePolicy(
	context.Context, *AttachRolePolicyInput, ...func(*Options),
) (*AttachRolePolicyOutput, error) {
	return nil, errMissing
}

func (*Client) CreateOpenIDConnectProvider(
	context.Context, *CreateOpenIDConnectProviderInput, ...func(*Options),
) (*CreateOpenIDConnectProviderOutput, error) {
	return nil, errMissing
}

func (*Client) CreateRole(context.Context, *CreateRoleInput, ...func(*Options)) (*CreateRoleOutput, error) {
	return nil, errMissing
}

func (*Client) UpdateAssumeRolePolicy(
	context.Context, *UpdateAssumeRolePolicyInput, ...func(*Options),
) (*UpdateAssumeRolePolicyOutput, error) {
	return nil, errMissing
}
