// Package moa would evaluate `${{ }}`. Texts without it pass; one with it is an error that says so.
package moa

import (
	"errors"
	"strings"

	"gitlab.com/gitlab-org/moa/ast"
)

const opening = "${{"

// ErrMissing is what a text that needs evaluation ends in.
var ErrMissing = errors.New("gitlab-runner built from Go modules evaluates no ${{ }} (job inputs): use CI/CD variables")

// ParseTemplate takes texts in which nothing is to be evaluated.
func ParseTemplate(text string) (ast.Expr, error) {
	if strings.Contains(text, opening) {
		return nil, ErrMissing
	}
	return ast.Text(text), nil
}

// EscapeTemplate makes a text stand for itself.
func EscapeTemplate(text string) string { return text }
