package ppf

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Value is a configuration value that has not been decoded yet, with the places
// where it stands: a scalar, a list or a map in file order.
type Value struct {
	Pos    Pos
	Kind   ValueKind
	Scalar string
	List   []Value
	Map    []KeyValue
}

// KeyValue is one entry of a map.
type KeyValue struct {
	Pos   Pos
	Key   string
	Value Value
}

// ValueKind tells what a Value is.
type ValueKind uint8

// The kinds of Value. The zero value is an empty one, as `key:` alone makes.
const (
	ValueNull ValueKind = iota
	ValueScalar
	ValueList
	ValueMap
)

var valueKindNames = [...]string{"nothing", "a value", "a list", "a map"}

// Equal compares what is configured, not where it stands.
func (v Value) Equal(o Value) bool {
	return v.Kind == o.Kind && v.Scalar == o.Scalar &&
		slices.EqualFunc(v.List, o.List, Value.Equal) &&
		slices.EqualFunc(v.Map, o.Map, func(a, b KeyValue) bool { return a.Key == b.Key && a.Value.Equal(b.Value) })
}

// Problem is something wrong, or with Warning doubtful, in a configuration.
type Problem struct {
	Pos     Pos
	Path    string // "instances[0].match.port"
	What    string // what is wrong, and why
	Fix     string // what to write instead
	Warning bool
}

// Error gives "FILE:LINE:COL: PATH: WHAT (FIX)".
func (p Problem) Error() string {
	s := p.What
	if p.Fix != "" {
		s += " (" + p.Fix + ")"
	}
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if pos := p.Pos.String(); pos != "" {
		s = pos + ": " + s
	}
	return s
}

// DecodeError is the problems of one decoding, as an error.
type DecodeError []Problem

func (e DecodeError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unmarshaler is a type that decodes itself from a Value. An error that is a
// DecodeError keeps its places.
type Unmarshaler interface {
	UnmarshalValue(v Value) error
}

// validator is a settings struct that checks what no type can.
type validator interface{ Validate() error }

// DecodeSettings fills the struct dst points to from v and validates it; it
// returns a DecodeError with every problem.
func DecodeSettings(dst any, v Value, path string) error {
	if problems := Decode(dst, v, path); len(problems) > 0 {
		return DecodeError(problems)
	}
	return nil
}

// Decode fills what dst points to from v and returns every problem. Struct
// fields, also those of embedded structs, are named by their `conf` tag; a field
// that v does not name keeps its value. Types with UnmarshalValue or UnmarshalText decode themselves; a struct
// with Validate() error is checked when its fields were all right.
func Decode(dst any, v Value, path string) []Problem {
	d := decoder{}
	d.value(reflect.ValueOf(dst).Elem(), v, path)
	return d.problems
}

type decoder struct{ problems []Problem }

func (d *decoder) add(pos Pos, path, fix, what string, args ...any) {
	d.problems = append(d.problems, Problem{Pos: pos, Path: path, What: fmt.Sprintf(what, args...), Fix: fix})
}

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typePrefix   = reflect.TypeFor[netip.Prefix]()
	typeValue    = reflect.TypeFor[Value]()
)

func (d *decoder) value(dst reflect.Value, v Value, path string) {
	if dst.Type() == typeValue {
		dst.Set(reflect.ValueOf(v))
		return
	}
	if u, ok := dst.Addr().Interface().(Unmarshaler); ok {
		switch err := u.UnmarshalValue(v).(type) {
		case nil:
		case DecodeError:
			for _, p := range err {
				p.Path = joinPath(path, p.Path)
				d.problems = append(d.problems, p)
			}
		default:
			d.add(v.Pos, path, "", "%v", err)
		}
		return
	}
	switch {
	case dst.Type() == typePrefix, dst.Type() == typeDuration:
		d.scalar(dst, v, path)
	case isText(dst):
		d.scalar(dst, v, path)
	case dst.Kind() == reflect.Struct:
		d.fields(dst, v, path)
	case dst.Kind() == reflect.Slice:
		d.list(dst, v, path)
	case dst.Kind() == reflect.Map:
		d.mapping(dst, v, path)
	default:
		d.scalar(dst, v, path)
	}
}

func isText(dst reflect.Value) bool {
	_, ok := dst.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// list takes a list, or one value as a list of one.
func (d *decoder) list(dst reflect.Value, v Value, path string) {
	items := v.List
	switch v.Kind {
	case ValueNull:
		return
	case ValueScalar, ValueMap:
		items = []Value{v}
	}
	out := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i := range items {
		p := path
		if v.Kind == ValueList {
			p = fmt.Sprintf("%s[%d]", path, i)
		}
		d.value(out.Index(i), items[i], p)
	}
	dst.Set(out)
}

// isMap reports whether v is a map; nothing is an empty one that changes
// nothing, and anything else a problem.
func (d *decoder) isMap(v Value, path string) bool {
	if v.Kind != ValueMap && v.Kind != ValueNull {
		d.add(v.Pos, path, "write `name: value` lines", "it is %s where a map belongs", valueKindNames[v.Kind])
	}
	return v.Kind == ValueMap
}

func (d *decoder) mapping(dst reflect.Value, v Value, path string) {
	if !d.isMap(v, path) {
		return
	}
	out := reflect.MakeMap(dst.Type())
	for _, kv := range v.Map {
		item := reflect.New(dst.Type().Elem()).Elem()
		d.value(item, kv.Value, path+"."+kv.Key)
		out.SetMapIndex(reflect.ValueOf(kv.Key), item)
	}
	dst.Set(out)
}

func (d *decoder) fields(dst reflect.Value, v Value, path string) {
	if !d.isMap(v, path) {
		return
	}
	before := len(d.problems)
	byName := map[string][]int{}
	var names []string
	for _, f := range reflect.VisibleFields(dst.Type()) {
		if name := f.Tag.Get("conf"); name != "" {
			byName[name] = f.Index
			names = append(names, name)
		}
	}
	for _, kv := range v.Map {
		i, known := byName[kv.Key]
		if !known {
			d.add(kv.Pos, joinPath(path, kv.Key), suggest(kv.Key, names), "unknown key %q", kv.Key)
			continue
		}
		d.value(dst.FieldByIndex(i), kv.Value, joinPath(path, kv.Key))
	}
	if c, ok := dst.Addr().Interface().(validator); ok && len(d.problems) == before {
		if err := c.Validate(); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				d.add(v.Pos, path, "", "%s", line)
			}
		}
	}
}

func joinPath(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "" || key[0] == '[':
		return path + key
	}
	return path + "." + key
}

func (d *decoder) scalar(dst reflect.Value, v Value, path string) {
	if v.Kind != ValueScalar {
		d.add(v.Pos, path, "write one value", "it is %s where one value belongs", valueKindNames[v.Kind])
		return
	}
	s := v.Scalar
	switch {
	case dst.Type() == typeDuration:
		t, err := time.ParseDuration(s)
		if err != nil {
			d.add(v.Pos, path, "write a number with a unit, such as 30s, 5m or 2h", "%q is not a duration", s)
			return
		}
		dst.SetInt(int64(t))
	case dst.Type() == typePrefix:
		p, err := ParsePrefix(s)
		if err != nil {
			d.add(v.Pos, path, "write an address or network such as 192.0.2.1 or 192.0.2.0/24", "%v", err)
			return
		}
		dst.Set(reflect.ValueOf(p))
	case isText(dst):
		if err := dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			d.add(v.Pos, path, "", "%v", err)
		}
	case dst.Kind() == reflect.String:
		dst.SetString(s)
	case dst.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			d.add(v.Pos, path, "write true or false", "%q is not a truth value", s)
			return
		}
		dst.SetBool(b)
	case dst.CanInt():
		n, err := strconv.ParseInt(s, 10, dst.Type().Bits())
		if err != nil {
			d.add(v.Pos, path, "write a whole number", "%q is not a number in range", s)
			return
		}
		dst.SetInt(n)
	case dst.CanUint():
		n, err := strconv.ParseUint(s, 10, dst.Type().Bits())
		if err != nil {
			d.add(v.Pos, path, fmt.Sprintf("write a whole number from 0 to %d", uint64(1)<<dst.Type().Bits()-1), "%q is not a number in range", s)
			return
		}
		dst.SetUint(n)
	default:
		panic(fmt.Sprintf("ppf: settings of type %v cannot be decoded", dst.Type()))
	}
}

// ParsePrefix reads an address, which is a network of one, or a network whose
// host bits are zero.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is not an address or network", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has host bits set; the network is %v", s, p.Masked())
	}
	return p, nil
}

// maxListed is how many known words a message lists.
const maxListed = 16

// suggest names the known word that a mistyped one is probably meant to be, or
// lists them if they are few.
func suggest(word string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		// Of two as near, the one as long is meant: letters are exchanged more often
		// than forgotten.
		if d := editDistance(word, k); d < bestDistance || d == bestDistance && best != "" && len(k) == len(word) && len(best) != len(word) {
			best, bestDistance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) > maxListed:
		return ""
	}
	return "known here: " + strings.Join(known, ", ")
}

// Suggest is suggest for other packages' messages.
func Suggest(word string, known []string) string { return suggest(word, known) }

// editDistance is how many letters must be added, left out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// ParseWord sets v to the place of a word in the list of an enum's names, for
// its UnmarshalText.
func ParseWord[T ~uint8](v *T, word []byte, names []string) error {
	i := slices.Index(names, string(word))
	if i < 0 {
		return fmt.Errorf("%q is none of %v", word, names)
	}
	*v = T(i)
	return nil
}
