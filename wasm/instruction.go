package wasm

import "fmt"

// Opcodes that the meter looks at (WebAssembly Core Specification 2.0, §5.4).
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opCall        = 0x10
	opCallInd     = 0x11
	opDrop        = 0x1a
	opSelectT     = 0x1c
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opTableGet    = 0x25
	opTableSet    = 0x26
	opLoad        = 0x28
	opStoreLast   = 0x3e
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opF32Const    = 0x43
	opF64Const    = 0x44
	opI64LtS      = 0x53
	opI64Sub      = 0x7d
	opI64ShrU     = 0x88
	opI64ExtendU  = 0xad
	opRefNull     = 0xd0
	opRefIsNull   = 0xd1
	opRefFunc     = 0xd2
	opPrefix      = 0xfc

	blockVoid = 0x40
)

// Opcodes behind opPrefix.
const (
	subMemoryInit = 8
	subDataDrop   = 9
	subMemoryCopy = 10
	subMemoryFill = 11
	subTableInit  = 12
	subElemDrop   = 13
	subTableCopy  = 14
	subTableGrow  = 15
	subTableSize  = 16
	subTableFill  = 17
)

// instruction is what was read of one.
type instruction struct {
	op  byte
	sub uint32 // behind opPrefix
	arg uint32 // the index of global.get and global.set
}

// next reads one instruction with its immediates. What is not part of version 2
// without vectors is an error, as is what lets tables grow: their memory is not
// bounded otherwise.
func (r *reader) next() (in instruction) {
	in.op = r.byte()
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		r.skipLEB(5) // a block type is a number of 33 bits
	case op == opBr || op == opBrIf || op == opCall || op == opRefFunc || op == opTableGet || op == opTableSet,
		op >= opLocalGet && op <= opLocalTee:
		r.u32()
	case op == opGlobalGet || op == opGlobalSet:
		in.arg = r.u32()
	case op == opBrTable:
		for range r.u32() {
			r.u32()
			if r.err != nil {
				return in
			}
		}
		r.u32()
	case op == opCallInd || op >= opLoad && op <= opStoreLast:
		r.u32()
		r.u32()
	case op == opSelectT:
		r.bytes(r.u32())
	case op == opMemorySize || op == opMemoryGrow || op == opRefNull:
		r.byte()
	case op == opI32Const:
		r.skipLEB(5)
	case op == opI64Const:
		r.skipLEB(10)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opPrefix:
		in.sub = r.u32()
		r.prefixed(in.sub)
	case op <= 0x01, op == opElse, op == opEnd, op == 0x0f, op == opDrop, op == 0x1b, op >= 0x45 && op <= 0xc4, op == opRefIsNull:
	default:
		r.fail(fmt.Errorf("instruction %#x is not supported", op))
	}
	return in
}

func (r *reader) prefixed(sub uint32) {
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
	case subMemoryFill:
		r.byte()
	case subMemoryCopy:
		r.bytes(2)
	case subMemoryInit:
		r.u32()
		r.byte()
	case subDataDrop, subElemDrop, subTableSize, subTableFill:
		r.u32()
	case subTableInit, subTableCopy:
		r.u32()
		r.u32()
	case subTableGrow:
		r.fail(fmt.Errorf("table.grow is not supported: tables keep their size"))
	default:
		r.fail(fmt.Errorf("instruction %#x %d is not supported", opPrefix, sub))
	}
}
