// Package fields names fields of log lines.
package fields

// Names of fields.
const (
	DurationS      = "duration_s"
	HTTPStatusCode = "status"
)

// Alias is what a field that was renamed is called now.
type Alias struct{ Standard string }

// Deprecated holds renamed fields by their old names: none, so lines keep the names that they have always had.
var Deprecated = map[string]Alias{}

// VariantVersion holds, by a field's new name, the schema version that brought it.
var VariantVersion = map[string]int{}
