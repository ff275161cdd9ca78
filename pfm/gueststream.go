//go:build wasip1

package pfm

import "unsafe"

func (calls) Pass(n uint32) { callPass(n) }

func (calls) Skip(n uint32) { callSkip(n) }

func (calls) Send(b []byte) { callSend(ptr(b), uint32(len(b))) }

func (calls) Reply(b []byte) bool { return callReply(ptr(b), uint32(len(b))) == 0 }

func (calls) Deny(r Reason) bool { return callDeny(hostReason[r-1]) == 1 }

func (calls) Wake(after int64) { callWake(uint64(after)) }

//go:wasmimport promethos pass
func callPass(n uint32) uint32

//go:wasmimport promethos skip
func callSkip(n uint32) uint32

//go:wasmimport promethos send
func callSend(b unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos reply
func callReply(b unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos deny
func callDeny(reason uint32) uint32

//go:wasmimport promethos wake
func callWake(after uint64) uint32
