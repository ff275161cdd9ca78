//go:build wasip1

package pfm

import "unsafe"

func (calls) Text(what uint32, to []byte) int {
	return int(int32(callText(what, ptr(to), uint32(len(to)))))
}

func (calls) SetMethod(name string) bool { return callSetMethod(textPtr(name), uint32(len(name))) == 0 }

func (calls) SetTarget(path, query string) bool {
	return callSetTarget(textPtr(path), uint32(len(path)), textPtr(query), uint32(len(query))) == 0
}

func (calls) SetHost(name string, port uint16) bool {
	return callSetHost(textPtr(name), uint32(len(name)), uint32(port)) == 0
}

func (calls) SetStatus(code int) bool { return callSetStatus(uint32(code)) == 0 }

func (calls) Field(name string, n int, to []byte) int {
	return int(int32(callField(textPtr(name), uint32(len(name)), uint32(n), ptr(to), uint32(len(to)))))
}

func (calls) FieldAt(i int, name, value []byte) (nameLen, valueLen int) {
	n := callFieldAt(uint32(i), ptr(name), uint32(len(name)), ptr(value), uint32(len(value)))
	return int(int32(n >> 32)), int(int32(n))
}

func (calls) SetField(name, value string) bool {
	return callSetField(textPtr(name), uint32(len(name)), textPtr(value), uint32(len(value))) == 0
}

func (calls) AddField(name, value string) bool {
	return callAddField(textPtr(name), uint32(len(name)), textPtr(value), uint32(len(value))) == 0
}

func (calls) RemoveField(name string) { callRemoveField(textPtr(name), uint32(len(name))) }

func (calls) WantBody(limit uint32, need bool) bool {
	n := uint32(0)
	if need {
		n = 1
	}
	return callWantBody(limit, n) == 0
}

func (calls) Body(from int, to []byte) int {
	return int(callBody(uint32(from), ptr(to), uint32(len(to))))
}

func (calls) SetBody(b []byte) bool { return callSetBody(ptr(b), uint32(len(b))) == 0 }

//go:wasmimport promethos text
func callText(what uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos set_method
func callSetMethod(name unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos set_target
func callSetTarget(path unsafe.Pointer, pathLength uint32, query unsafe.Pointer, queryLength uint32) uint32

//go:wasmimport promethos set_host
func callSetHost(name unsafe.Pointer, length, port uint32) uint32

//go:wasmimport promethos set_status
func callSetStatus(code uint32) uint32

//go:wasmimport promethos field
func callField(name unsafe.Pointer, nameLength, index uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos field_at
func callFieldAt(index uint32, name unsafe.Pointer, nameRoom uint32, value unsafe.Pointer, valueRoom uint32) uint64

//go:wasmimport promethos set_field
func callSetField(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos add_field
func callAddField(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos remove_field
func callRemoveField(name unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos want_body
func callWantBody(limit, need uint32) uint32

//go:wasmimport promethos body
func callBody(from uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos set_body
func callSetBody(b unsafe.Pointer, length uint32) uint32
