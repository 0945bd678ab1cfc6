// keys prints, as JSON, every key of config.toml that GitLab Runner's own structures have, with its type.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"time"

	"gitlab.com/gitlab-org/gitlab-runner/common"
)

func main() {
	keys := map[string]string{}
	below("", reflect.TypeFor[common.Config](), keys)
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(keys); err != nil {
		panic(err)
	}
}

// below notes the keys of a table's structure. BurntSushi/toml reads an embedded structure as part of the outer one, and
// a field without a tag by its own name.
func below(path string, table reflect.Type, keys map[string]string) {
	for _, field := range reflect.VisibleFields(table) {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		if field.Anonymous || !field.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		kind, inner := describe(field.Type)
		keys[path+name] = kind
		if inner != nil {
			below(path+name+".", inner, keys)
		}
	}
}

// describe says what TOML a Go type takes, and of what structure its tables are.
func describe(field reflect.Type) (string, reflect.Type) {
	switch field {
	case reflect.TypeFor[time.Duration]():
		return "duration", nil
	case reflect.TypeFor[time.Time]():
		return "time", nil
	case reflect.TypeFor[common.StringOrArray]():
		return "text|[text]", nil
	}
	switch field.Kind() {
	case reflect.Pointer:
		return describe(field.Elem())
	case reflect.Slice:
		kind, inner := describe(field.Elem())
		return "[" + kind + "]", inner
	case reflect.Map:
		kind, inner := describe(field.Elem())
		return "{" + kind + "}", inner
	case reflect.Struct:
		return "table", field
	case reflect.Bool:
		return "flag", nil
	case reflect.String:
		return "text", nil
	case reflect.Float32, reflect.Float64:
		return "number", nil
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return "whole", nil
	case reflect.Interface:
		return "anything", nil
	}
	panic("no name for the type " + field.String())
}
