// Package gcerrors names what asking a bucket may end in.
package gcerrors

// ErrorCode is a kind of error.
type ErrorCode int

// The kinds that callers tell apart.
const (
	Unknown ErrorCode = iota
	NotFound
)

// Code says of what kind an error is.
func Code(error) ErrorCode { return Unknown }
