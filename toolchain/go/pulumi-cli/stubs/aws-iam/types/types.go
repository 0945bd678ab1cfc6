// Package types has the one error that the CLI asks for by its type.
package types

// EntityAlreadyExistsException is never returned.
type EntityAlreadyExistsException struct{}

func (*EntityAlreadyExistsException) Error() string { return "EntityAlreadyExists" }
