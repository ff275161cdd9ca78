package http

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/promethos/promethos/ppf"
)

// Field is one field of a message.
type Field struct {
	id    FieldID
	name  Token // empty for a known field: the table's spelling is written
	value Text
	at    int32 // offset in the received head; -1 for one that was set
	fold  bool  // was continued on another line
	named bool  // a Connection field names it
}

// Name gives the field's name, for known fields in the registry's spelling.
func (f *Field) Name() string {
	if f.id != unknownField {
		return fieldTable[f.id].name
	}
	return f.name.String()
}

// Value gives the field's value, without blanks at its ends.
func (f *Field) Value() string { return f.value.String() }

// AppendName appends what Name gives to b.
func (f *Field) AppendName(b []byte) []byte {
	if f.id != unknownField {
		return append(b, fieldTable[f.id].name...)
	}
	return append(b, f.name.b...)
}

// AppendValue appends what Value gives to b.
func (f *Field) AppendValue(b []byte) []byte { return append(b, f.value.b...) }

// Header holds the fields of a message in their order. Names are compared
// without regard to case. Fields that frame the message or concern one
// connection (Content-Length, Connection, …) are not among them: they are
// written by us, from what was parsed or set. It is not safe for concurrent use.
type Header struct{ fields []Field }

func (f *Field) is(id FieldID, name string) bool {
	return f.id == id && (id != unknownField || foldEqual(f.name.b, name))
}

// All yields name and value of each field, as copies.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range h.fields {
			if !yield(h.fields[i].Name(), h.fields[i].Value()) {
				return
			}
		}
	}
}

// Fields yields each field for reading without copies; it must not be kept.
func (h *Header) Fields() iter.Seq[*Field] {
	return func(yield func(*Field) bool) {
		for i := range h.fields {
			if !yield(&h.fields[i]) {
				return
			}
		}
	}
}

// Len is how many fields there are.
func (h *Header) Len() int { return len(h.fields) }

// At gives field i, for reading; it must not be kept.
func (h *Header) At(i int) *Field { return &h.fields[i] }

// Nth gives the field of that name behind n others of it, for reading; nil where
// there is none. It must not be kept.
func (h *Header) Nth(name []byte, n int) *Field {
	id := fieldByName(name)
	for i := range h.fields {
		if f := &h.fields[i]; f.id == id && (id != unknownField || foldEqual(f.name.b, name)) {
			if n == 0 {
				return f
			}
			n--
		}
	}
	return nil
}

// Get gives the first value of a field, "" where there is none.
func (h *Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup gives the first value of a field.
func (h *Header) Lookup(name string) (value string, ok bool) {
	if f := h.find(fieldByName(name), name); f != nil {
		return f.Value(), true
	}
	return "", false
}

func (h *Header) find(id FieldID, name string) *Field {
	for i := range h.fields {
		if h.fields[i].is(id, name) {
			return &h.fields[i]
		}
	}
	return nil
}

// ErrField reports a field that a message function may not write.
var ErrField = errors.New("the field cannot be set")

// checkField validates a name and value of ours.
func checkField(name, value string) (f Field, err error) {
	f.at = -1
	f.id = fieldByName(name)
	if f.id != unknownField && fieldTable[f.id].flags&(hopByHop|ofUs) != 0 {
		return f, fmt.Errorf("field %s: %w (it is written from the message's framing)", name, ErrField)
	}
	if f.id == unknownField {
		var bad int
		if f.name, bad = parseToken([]byte(name)); bad >= 0 {
			return f, fmt.Errorf("field %q: %w (its name has other than token characters)", name, ErrField)
		}
	}
	var bad int
	if f.value, bad = parseText([]byte(value)); bad >= 0 {
		return f, fmt.Errorf("field %s: %w (its value has a control character)", name, ErrField)
	}
	return f, nil
}

// Set replaces all fields of that name by one. The error wraps ErrField.
func (h *Header) Set(name, value string) error {
	f, err := checkField(name, value)
	if err != nil {
		return err
	}
	h.put(f, name)
	return nil
}

func (h *Header) put(f Field, name string) {
	if old := h.find(f.id, name); old != nil {
		*old = f
		first := true
		h.fields = slices.DeleteFunc(h.fields, func(o Field) bool {
			if !o.is(f.id, name) || first {
				first = first && !o.is(f.id, name)
				return false
			}
			return true
		})
		return
	}
	h.fields = append(h.fields, f)
}

// Add appends a field. The error wraps ErrField.
func (h *Header) Add(name, value string) error {
	f, err := checkField(name, value)
	if err == nil {
		h.fields = append(h.fields, f)
	}
	return err
}

// Del removes all fields of that name.
func (h *Header) Del(name string) {
	id := fieldByName(name)
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return f.is(id, name) })
}

// Edit calls edit with each value of the field and sets what it returns; keep
// false removes the field. Values that would be no field values are an error
// that wraps ErrField, and change nothing further.
func (h *Header) Edit(name string, edit func(value string) (changed string, keep bool)) error {
	id := fieldByName(name)
	for i := 0; i < len(h.fields); i++ {
		if !h.fields[i].is(id, name) {
			continue
		}
		old := h.fields[i].Value()
		changed, keep := edit(old)
		if !keep {
			h.fields = slices.Delete(h.fields, i, i+1)
			i--
			continue
		}
		if changed == old {
			continue
		}
		f, err := checkField(name, changed)
		if err != nil {
			return err
		}
		h.fields[i] = f
	}
	return nil
}

// Defect is something that was found in a message.
type Defect struct {
	Reason ppf.Reason
	Offset int64 // in octets from the start of the message
	field  FieldID
	name   Token // of the field it concerns; empty where there is none
}

// defects collects what was found in one message, in its order. Those in list
// have another reading, which the parser has taken; fatal has none.
type defects struct {
	list  []Defect
	fatal Defect
}

func (d *defects) reset() { d.list, d.fatal = d.list[:0], Defect{} }

// found notes a defect that has another reading.
func (d *defects) found(r ppf.Reason, at int) {
	d.list = append(d.list, Defect{Reason: r, Offset: int64(at)})
}

func (d *defects) foundIn(r ppf.Reason, f *Field) {
	d.list = append(d.list, Defect{Reason: r, Offset: int64(f.at), field: f.id, name: f.name})
}

// fail notes a defect that leaves no reading; the message is refused in every
// mode. It returns false.
func (d *defects) fail(r ppf.Reason, at int) bool {
	if d.fatal.Reason == 0 {
		d.fatal = Defect{Reason: r, Offset: int64(at)}
	}
	return false
}
