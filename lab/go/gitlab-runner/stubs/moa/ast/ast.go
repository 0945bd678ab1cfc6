// Package ast is the shape of an expression: here a plain text only.
package ast

// Visitor is led through an expression.
type Visitor interface {
	Enter(expr Expr) (Visitor, error)
	Exit(expr Expr) (Expr, error)
}

// Expr is an expression.
type Expr interface {
	Walk(v Visitor) (Expr, error)
}

// Text is an expression in which nothing is to be evaluated.
type Text string

// Walk shows the visitor the text.
func (t Text) Walk(v Visitor) (Expr, error) {
	if _, err := v.Enter(t); err != nil {
		return nil, err
	}
	return v.Exit(t)
}

// Template would be a text with something to evaluate; none is ever made.
type Template struct{}

// Walk shows the visitor the template.
func (t *Template) Walk(v Visitor) (Expr, error) { return v.Exit(t) }
