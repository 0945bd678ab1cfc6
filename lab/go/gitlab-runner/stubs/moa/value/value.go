// Package value holds values of job inputs.
package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Kind is a value's type.
type Kind string

// The types.
const (
	NullKind   Kind = "null"
	BoolKind   Kind = "boolean"
	NumberKind Kind = "number"
	StringKind Kind = "string"
	ArrayKind  Kind = "array"
	ObjectKind Kind = "object"
)

// What asking for a part of a value may end in.
var (
	ErrAttributeNotFound = errors.New("attribute not found")
	ErrInvalidKey        = errors.New("invalid key")
)

// Mapper is what holds values by key.
type Mapper interface {
	All() iter.Seq2[Value, Value]
	Attr(name string) (Value, error)
	Get(key Value) (Value, error)
	Keys() iter.Seq[Value]
	Len() int
	Values() iter.Seq[Value]
	WithMarks(marks uint16) Mapper
}

// Value is what JSON can hold, with marks on it.
type Value struct {
	content any
	marks   uint16
}

// Null is the value that is none.
func Null() Value { return Value{} }

// String makes a value of a text.
func String(text string) Value { return Value{content: text} }

// Object makes a value of what holds others.
func Object(m Mapper) Value { return Value{content: m} }

// UnmarshalJSON takes any JSON.
func (v *Value) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &v.content) }

// Kind is the value's type.
func (v Value) Kind() Kind {
	switch v.content.(type) {
	case nil:
		return NullKind
	case bool:
		return BoolKind
	case float64:
		return NumberKind
	case string:
		return StringKind
	case []any:
		return ArrayKind
	default:
		return ObjectKind
	}
}

// WithMarks returns the value with marks added.
func (v Value) WithMarks(marks uint16) Value {
	return Value{content: v.content, marks: v.marks | marks}
}

// HasMarks says whether the value has all of the marks.
func (v Value) HasMarks(marks uint16) bool { return v.marks&marks == marks }

func (v Value) String() string {
	if text, ok := v.content.(string); ok {
		return text
	}
	return fmt.Sprint(v.content)
}
