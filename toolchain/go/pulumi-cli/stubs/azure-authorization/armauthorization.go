// Package armauthorization stands in for Azure's own, of which the CLI uses one call, to set up an account for Pulumi Cloud.
package armauthorization

import (
	"context"
	"errors"
)

type (
	// RoleAssignmentsClient refuses its call.
	RoleAssignmentsClient struct{}
	// RoleAssignment has, as all types here, what the CLI writes and reads, and no more.
	RoleAssignment                      struct{ ID, Name *string }
	RoleAssignmentCreateParameters      struct{ Properties *RoleAssignmentProperties }
	RoleAssignmentProperties            struct{ PrincipalID, RoleDefinitionID *string }
	RoleAssignmentsClientCreateOptions  struct{}
	RoleAssignmentsClientCreateResponse struct{ RoleAssignment }
)

// NewRoleAssignmentsClient takes what Azure's SDK takes, of whatever types.
func NewRoleAssignmentsClient[Credential any](string, Credential, any) (*RoleAssignmentsClient, error) {
	return &RoleAssignmentsClient{}, nil
}

func (*RoleAssignmentsClient) Create(
	context.Context, string, string, RoleAssignmentCreateParameters, *RoleAssignmentsClientCreateOptions,
) (RoleAssignmentsClientCreateResponse, error) {
	return RoleAssignmentsClientCreateResponse{}, errors.New(
		"this pulumi was built without Azure's role assignments: set up the account with an official one")
}
