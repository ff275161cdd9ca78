package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/promethos/promethos/ppf"
)

// Schema is the part of JSON Schema (draft 2020-12) that settings need. A
// keyword that is not here is an error in the manifest: it would promise a check
// that is not made. Objects take no other properties than those named.
type Schema struct {
	Schema      string            `json:"$schema,omitempty"`
	Title       string            `json:"title,omitempty"`
	Description string            `json:"description,omitempty"`
	Type        string            `json:"type"` // object, array, string, integer, number, boolean
	Default     json.RawMessage   `json:"default,omitempty"`
	Enum        []json.RawMessage `json:"enum,omitempty"`

	Properties           map[string]*Schema `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties *bool              `json:"additionalProperties,omitempty"` // false is all it may be

	Items    *Schema `json:"items,omitempty"`
	MinItems *int    `json:"minItems,omitempty"`
	MaxItems *int    `json:"maxItems,omitempty"`

	Minimum   *float64 `json:"minimum,omitempty"`
	Maximum   *float64 `json:"maximum,omitempty"`
	MinLength *int     `json:"minLength,omitempty"`
	MaxLength *int     `json:"maxLength,omitempty"`
	Pattern   string   `json:"pattern,omitempty"`

	pattern *regexp.Regexp
}

// check prepares a schema and looks whether it makes sense.
func (s *Schema) check(path string) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(path+": "+format, args...))
	}
	switch s.Type {
	case "object":
		for name, p := range s.Properties {
			if p == nil {
				bad("property %q has no schema", name)
				continue
			}
			errs = append(errs, p.check(path+"."+name))
		}
		for _, name := range s.Required {
			if s.Properties[name] == nil {
				bad("required %q is no property", name)
			}
		}
		if s.AdditionalProperties != nil && *s.AdditionalProperties {
			bad("additionalProperties: settings that no property names are refused (write false)")
		}
	case "array":
		if s.Items == nil {
			bad("an array needs items")
		} else {
			errs = append(errs, s.Items.check(path+"[]"))
		}
	case "string", "integer", "number", "boolean":
	default:
		bad("type %q is unknown (object, array, string, integer, number, boolean)", s.Type)
	}
	if s.Pattern != "" {
		var err error
		if s.pattern, err = regexp.Compile(s.Pattern); err != nil {
			bad("pattern: %v", err)
		}
	}
	return errors.Join(errs...)
}

// settings are the configured settings of one function of one instance, checked
// by its schema: the same as JSON, with the defaults filled in.
type settings struct {
	schema *Schema
	value  any // map[string]any, []any, string, int64, float64, bool; nil: there are problems
	wrong  error
}

var _ ppf.Unmarshaler = (*settings)(nil)

// newSettings gives the settings where nothing is configured. What is required
// is missing then, which Bind tells.
func newSettings(s *Schema) *settings {
	v := &settings{schema: s}
	v.wrong = v.UnmarshalValue(ppf.Value{Kind: ppf.ValueMap})
	return v
}

// UnmarshalValue checks and takes what is configured.
func (s *settings) UnmarshalValue(v ppf.Value) error {
	d := &schemaDecoder{}
	value := d.value(s.schema, v, "")
	if len(d.problems) > 0 {
		return ppf.DecodeError(d.problems)
	}
	s.value, s.wrong = value, nil
	return nil
}

// schemaDecoder collects every problem with its place.
type schemaDecoder struct{ problems []ppf.Problem }

func (d *schemaDecoder) add(v ppf.Value, path, fix, what string, args ...any) {
	d.problems = append(d.problems, ppf.Problem{Pos: v.Pos, Path: path, What: fmt.Sprintf(what, args...), Fix: fix})
}

func (d *schemaDecoder) value(s *Schema, v ppf.Value, path string) any {
	var out any
	before := len(d.problems)
	switch s.Type {
	case "object":
		out = d.object(s, v, path)
	case "array":
		out = d.array(s, v, path)
	default:
		out = d.scalar(s, v, path)
	}
	if len(s.Enum) > 0 && len(d.problems) == before {
		text, err := json.Marshal(out)
		if err != nil || !slices.ContainsFunc(s.Enum, func(e json.RawMessage) bool { return string(e) == string(text) }) {
			var words []string
			for _, e := range s.Enum {
				words = append(words, strings.Trim(string(e), `"`))
			}
			d.add(v, path, ppf.Suggest(v.Scalar, words), "%q is unknown", v.Scalar)
		}
	}
	return out
}

func (d *schemaDecoder) object(s *Schema, v ppf.Value, path string) any {
	if v.Kind != ppf.ValueMap && v.Kind != ppf.ValueNull {
		d.add(v, path, "write `name: value` lines", "a map belongs here")
		return nil
	}
	out := map[string]any{}
	known := slices.Sorted(maps.Keys(s.Properties))
	for _, kv := range v.Map {
		p := joinPath(path, kv.Key)
		property := s.Properties[kv.Key]
		if property == nil {
			d.problems = append(d.problems, ppf.Problem{Pos: kv.Pos, Path: p, What: fmt.Sprintf("unknown key %q", kv.Key), Fix: ppf.Suggest(kv.Key, known)})
			continue
		}
		out[kv.Key] = d.value(property, kv.Value, p)
	}
	for _, name := range known {
		if _, set := out[name]; set || slices.ContainsFunc(v.Map, func(kv ppf.KeyValue) bool { return kv.Key == name }) {
			continue
		}
		switch property := s.Properties[name]; {
		case property.Default != nil:
			var value any
			if err := json.Unmarshal(property.Default, &value); err != nil {
				d.add(v, joinPath(path, name), "", "default of the schema: %v", err)
			}
			out[name] = value
		case slices.Contains(s.Required, name):
			d.add(v, joinPath(path, name), "add it", "the setting is missing")
		}
	}
	return out
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// array takes a list, or one value as a list of one.
func (d *schemaDecoder) array(s *Schema, v ppf.Value, path string) any {
	items := v.List
	switch v.Kind {
	case ppf.ValueScalar, ppf.ValueMap:
		items = []ppf.Value{v}
	}
	if s.MinItems != nil && len(items) < *s.MinItems {
		d.add(v, path, "", "%d items are too few (%d at least)", len(items), *s.MinItems)
	}
	if s.MaxItems != nil && len(items) > *s.MaxItems {
		d.add(v, path, "", "%d items are too many (%d at most)", len(items), *s.MaxItems)
	}
	out := []any{}
	for i, item := range items {
		out = append(out, d.value(s.Items, item, fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

func (d *schemaDecoder) scalar(s *Schema, v ppf.Value, path string) any {
	if v.Kind != ppf.ValueScalar {
		d.add(v, path, "write one value", "one value belongs here")
		return nil
	}
	switch s.Type {
	case "boolean":
		b, err := strconv.ParseBool(v.Scalar)
		if err != nil {
			d.add(v, path, "write true or false", "%q is not a truth value", v.Scalar)
		}
		return b
	case "integer":
		n, err := strconv.ParseInt(v.Scalar, 0, 64)
		if err != nil {
			d.add(v, path, "write a whole number", "%q is not a whole number", v.Scalar)
			return nil
		}
		d.inRange(s, float64(n), v, path)
		return n
	case "number":
		n, err := strconv.ParseFloat(v.Scalar, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			d.add(v, path, "write a number", "%q is not a number", v.Scalar)
			return nil
		}
		d.inRange(s, n, v, path)
		return n
	}
	n := utf8.RuneCountInString(v.Scalar)
	if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
		d.add(v, path, "", "%q has %d characters, which is too few or too many", v.Scalar, n)
	}
	if s.pattern != nil && !s.pattern.MatchString(v.Scalar) {
		d.add(v, path, s.Description, "%q does not look as it should (%s)", v.Scalar, s.Pattern)
	}
	return v.Scalar
}

func (d *schemaDecoder) inRange(s *Schema, n float64, v ppf.Value, path string) {
	if s.Minimum != nil && n < *s.Minimum || s.Maximum != nil && n > *s.Maximum {
		var parts []string
		if s.Minimum != nil {
			parts = append(parts, fmt.Sprintf("%v at least", *s.Minimum))
		}
		if s.Maximum != nil {
			parts = append(parts, fmt.Sprintf("%v at most", *s.Maximum))
		}
		d.add(v, path, strings.Join(parts, ", "), "%s is out of range", v.Scalar)
	}
}

// lookup gives the text of a setting by path: "limits.max", "registers[0].from";
// "registers.#" is how many items there are, and "" everything as JSON.
func (s *settings) lookup(path string) (string, bool) {
	v := s.value
	for path != "" {
		switch here := v.(type) {
		case map[string]any:
			n := len(path)
			if i := strings.IndexAny(path, ".["); i >= 0 {
				n = i
			}
			next, ok := here[path[:n]]
			if !ok {
				return "", false
			}
			v, path = next, strings.TrimPrefix(path[n:], ".")
		case []any:
			if path == "#" {
				return strconv.Itoa(len(here)), true
			}
			end := strings.IndexByte(path, ']')
			if path[0] != '[' || end < 0 {
				return "", false
			}
			i, err := strconv.Atoi(path[1:end])
			if err != nil || i < 0 || i >= len(here) {
				return "", false
			}
			v, path = here[i], strings.TrimPrefix(path[end+1:], ".")
		default:
			return "", false
		}
	}
	if text, ok := v.(string); ok {
		return text, true
	}
	text, err := json.Marshal(v)
	return string(text), err == nil
}
