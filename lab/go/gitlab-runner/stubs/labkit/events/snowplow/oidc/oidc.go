// Package oidc would get tokens for the collector of billing events.
package oidc

// Option changes how tokens are got.
type Option func()

// Source would give tokens.
type Source struct{}

// WithSkipIfUnsupportedCloud does nothing.
func WithSkipIfUnsupportedCloud(bool) Option { return func() {} }

// NewSource makes a source without tokens.
func NewSource(...Option) *Source { return &Source{} }
