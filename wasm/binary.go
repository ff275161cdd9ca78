package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Sections of a module (WebAssembly Core Specification 2.0, §5.5.2).
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionGlobal   = 6
	sectionExport   = 7
	sectionCode     = 10
)

// Kinds of imports and exports (§5.5.5).
const (
	externFunc   = 0
	externTable  = 1
	externMemory = 2
	externGlobal = 3
)

const (
	typeI32  = 0x7f
	typeI64  = 0x7e
	typeFunc = 0x60
)

// magic is the preamble of version 1 (§5.5.16).
const magic = "\x00asm\x01\x00\x00\x00"

var errTruncated = errors.New("it ends in the middle")

// reader reads a part of a binary. After an error it gives zeros.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) left() int { return len(r.b) - r.off }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.off = len(r.b)
}

func (r *reader) byte() byte {
	if r.left() < 1 {
		r.fail(errTruncated)
		return 0
	}
	r.off++
	return r.b[r.off-1]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.fail(errTruncated)
		return nil
	}
	r.off += int(n)
	return r.b[r.off-int(n) : r.off : r.off]
}

// u32 reads an unsigned LEB128 number (§5.2.2).
func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.b[r.off:])
	if n <= 0 || n > 5 || v > 1<<32-1 {
		r.fail(errTruncated)
		return 0
	}
	r.off += n
	return uint32(v)
}

// skipLEB passes over a number of any sign, of up to limit bytes.
func (r *reader) skipLEB(limit int) {
	for range limit {
		if r.byte()&0x80 == 0 {
			return
		}
	}
	r.fail(errors.New("a number is too long"))
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

func putU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// putI64 appends a signed LEB128 number that is not negative.
func putI64(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// section is one section of a binary; body is a part of it.
type section struct {
	id   byte
	body []byte
}

// sections splits a binary.
func sections(b []byte) ([]section, error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return nil, errors.New("it is no WebAssembly module of version 1")
	}
	r := &reader{b: b, off: len(magic)}
	var list []section
	for r.left() > 0 {
		s := section{id: r.byte()}
		s.body = r.bytes(r.u32())
		if r.err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, r.err)
		}
		list = append(list, s)
	}
	return list, nil
}

// customSection finds a custom section by name.
func customSection(list []section, name string) ([]byte, bool) {
	for _, s := range list {
		if s.id != sectionCustom {
			continue
		}
		r := &reader{b: s.body}
		if r.name() == name && r.err == nil {
			return s.body[r.off:], true
		}
	}
	return nil, false
}

// join puts sections together to a binary.
func join(list []section) []byte {
	out := []byte(magic)
	for _, s := range list {
		out = append(putU32(append(out, s.id), uint32(len(s.body))), s.body...)
	}
	return out
}

// withCustomSection gives a binary in which a custom section stands in place of
// one of that name, as the last.
func withCustomSection(b []byte, name string, data []byte) ([]byte, error) {
	list, err := sections(b)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s section) bool {
		_, is := customSection([]section{s}, name)
		return is
	})
	body := append(append(putU32(nil, uint32(len(name))), name...), data...)
	return join(append(list, section{sectionCustom, body})), nil
}

// limits reads the size of a table or memory (§5.3.7).
func (r *reader) limits() (low uint32) {
	flags := r.byte()
	low = r.u32()
	if flags&1 != 0 {
		r.u32()
	}
	if flags > 1 {
		r.fail(errors.New("shared and 64-bit memories are not supported"))
	}
	return low
}

// importedFunc is a function that a guest asks for.
type importedFunc struct {
	module, name string
	typ          uint32
}

// imports reads what a guest asks for; all but functions is refused.
func imports(body []byte) (list []importedFunc, err error) {
	r := &reader{b: body}
	for range r.u32() {
		f := importedFunc{module: r.name(), name: r.name()}
		if kind := r.byte(); kind != externFunc && r.err == nil {
			return nil, fmt.Errorf("it imports %s.%s, which is no function: nothing else is given", f.module, f.name)
		}
		f.typ = r.u32()
		if r.err != nil {
			break
		}
		list = append(list, f)
	}
	return list, r.err
}

// funcType is the signature of a function; results is counted only.
type funcType struct {
	params  []byte
	results []byte
}

func types(body []byte) (list []funcType, err error) {
	r := &reader{b: body}
	for range r.u32() {
		if r.byte() != typeFunc && r.err == nil {
			return nil, errors.New("a type is no function's")
		}
		t := funcType{params: r.bytes(r.u32())}
		t.results = r.bytes(r.u32())
		if r.err != nil {
			break
		}
		list = append(list, t)
	}
	return list, r.err
}
