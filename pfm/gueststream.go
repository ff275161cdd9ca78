//go:build wasip1

package pfm

import "unsafe"

func (calls) Pass(n uint32) { callPass(n) }

func (calls) Skip(n uint32) { callSkip(n) }

func (calls) Send(b []byte) { callSend(ptr(b), uint32(len(b))) }

//go:wasmimport promethos pass
func callPass(n uint32) uint32

//go:wasmimport promethos skip
func callSkip(n uint32) uint32

//go:wasmimport promethos send
func callSend(b unsafe.Pointer, length uint32) uint32
