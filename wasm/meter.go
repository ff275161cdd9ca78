package wasm

import (
	"errors"
	"fmt"
	"slices"
)

// fuelName is the export of the counter that meter adds.
const fuelName = "promethos:fuel"

const (
	// instructionsPerUnit is how many instructions in a row cost one unit of fuel
	// at most; a loop's turn and a call cost one at least.
	instructionsPerUnit = 64
	// bytesPerUnit is how many bytes of memory that one instruction fills or
	// copies cost a unit.
	bytesPerUnitShift = 8
	// growCost is what memory.grow costs in bytes: it may copy all memory.
	growCost = 1 << 20
	// maxTable is how many elements a table may have.
	maxTable = 1 << 16
)

// meter gives a guest that counts fuel down and traps when there is none left:
// at each function's entry and each loop's head, which every endless execution
// passes again and again, and before instructions on many bytes. Both a function
// and a loop are charged for the instructions that are theirs without those of
// inner loops, so that long straight code is not free. start is the fuel for the
// module's start function.
//
// The counter is a global behind those of the guest and exported as fuelName.
// The guest cannot name it: indices beyond its own are refused.
func meter(b []byte, start int64) ([]byte, error) {
	list, err := sections(b)
	if err != nil {
		return nil, err
	}
	m := &metering{}
	for _, s := range list {
		if err := m.read(s); err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, err)
		}
	}
	if len(m.functions) == 0 || m.code == nil {
		return nil, errors.New("it has no function")
	}
	m.fuel = m.globals
	m.chargeType, m.charge = uint32(len(m.types)), uint32(len(m.imports)+len(m.functions))
	code, err := m.rewrite()
	if err != nil {
		return nil, err
	}
	hasGlobals, hasExports := false, false
	var out []section
	for _, s := range list {
		switch s.id {
		case sectionType:
			s.body = appendItem(s.body, []byte{typeFunc, 1, typeI32, 1, typeI32})
		case sectionFunction:
			s.body = appendItem(s.body, putU32(nil, m.chargeType))
		case sectionGlobal:
			s.body, hasGlobals = appendItem(s.body, fuelGlobal(start)), true
		case sectionExport:
			s.body, hasExports = appendItem(s.body, m.fuelExport()), true
		case sectionCode:
			s.body = code
		}
		out = append(out, s)
	}
	if !hasExports {
		return nil, errors.New("it exports nothing")
	}
	if !hasGlobals {
		i := slices.IndexFunc(out, func(s section) bool { return s.id == sectionExport })
		out = slices.Insert(out, i, section{sectionGlobal, append([]byte{1}, fuelGlobal(start)...)})
	}
	return join(out), nil
}

// metering is what meter has to know of a module.
type metering struct {
	types      []funcType
	imports    []importedFunc
	functions  []uint32 // types of own functions
	globals    uint32
	code       []byte
	fuel       uint32 // index of the counter
	charge     uint32 // index of the function that charges for bytes
	chargeType uint32
}

func (m *metering) read(s section) (err error) {
	r := &reader{b: s.body}
	switch s.id {
	case sectionType:
		m.types, err = types(s.body)
	case sectionImport:
		m.imports, err = imports(s.body)
	case sectionFunction:
		for range r.u32() {
			if m.functions = append(m.functions, r.u32()); r.err != nil {
				break
			}
		}
	case sectionTable:
		for range r.u32() {
			r.byte()
			if n := r.limits(); n > maxTable {
				return fmt.Errorf("a table of %d elements is too large (%d at most)", n, maxTable)
			}
			if r.err != nil {
				break
			}
		}
	case sectionGlobal:
		m.globals = r.u32()
	case sectionExport:
		for range r.u32() {
			name, kind, index := r.name(), r.byte(), r.u32()
			if r.err != nil {
				break
			}
			// Globals stand before exports, so that their number is known.
			if name == fuelName || kind == externGlobal && index >= m.globals {
				return fmt.Errorf("export %q is not the guest's to make", name)
			}
		}
	case sectionCode:
		m.code = s.body
	}
	if err == nil {
		err = r.err
	}
	return err
}

// appendItem adds an item to a section that is a vector.
func appendItem(body, item []byte) []byte {
	r := &reader{b: body}
	n := r.u32()
	return slices.Concat(putU32(nil, n+1), body[r.off:], item)
}

func fuelGlobal(start int64) []byte {
	return append(putI64([]byte{typeI64, 1, opI64Const}, start), opEnd)
}

func (m *metering) fuelExport() []byte {
	b := append(putU32(nil, uint32(len(fuelName))), fuelName...)
	return putU32(append(b, externGlobal), m.fuel)
}

// rewrite gives the code section with checks in every function, and the function
// that charges for bytes behind them.
func (m *metering) rewrite() ([]byte, error) {
	r := &reader{b: m.code}
	n := r.u32()
	if int(n) != len(m.functions) {
		return nil, fmt.Errorf("it has %d functions and %d bodies", len(m.functions), n)
	}
	out := putU32(nil, n+1)
	for i := range n {
		body := r.bytes(r.u32())
		if r.err != nil {
			return nil, r.err
		}
		done, err := m.body(m.functions[i], body)
		if err != nil {
			return nil, fmt.Errorf("function %d: %w", i, err)
		}
		out = append(putU32(out, uint32(len(done))), done...)
	}
	// charge(n i32) i32 takes n>>bytesPerUnitShift units and gives n back.
	body := []byte{1, 1, typeI64}
	body = append(body, opLocalGet, 0, opI64ExtendU, opI64Const, bytesPerUnitShift, opI64ShrU)
	body = append(m.check(body, nil, 1), opLocalGet, 0, opEnd)
	return append(putU32(out, uint32(len(body))), body...), nil
}

// check appends the check: it takes cost units, or with a nil cost what is on
// the stack, and traps below zero. scratch is a local of type i64.
func (m *metering) check(b []byte, cost *int64, scratch uint32) []byte {
	if cost == nil {
		b = putU32(append(b, opLocalSet), scratch)
	}
	b = putU32(append(b, opGlobalGet), m.fuel)
	if cost == nil {
		b = putU32(append(b, opLocalGet), scratch)
	} else {
		b = putI64(append(b, opI64Const), *cost)
	}
	b = append(b, opI64Sub)
	b = putU32(append(b, opLocalTee), scratch)
	b = putU32(append(b, opGlobalSet), m.fuel)
	b = putU32(append(b, opLocalGet), scratch)
	return append(b, opI64Const, 0, opI64LtS, opIf, blockVoid, opUnreachable, opEnd)
}

// body rewrites one function.
func (m *metering) body(typ uint32, body []byte) ([]byte, error) {
	if int(typ) >= len(m.types) {
		return nil, errors.New("its type is missing")
	}
	r := &reader{b: body}
	scratch := uint32(len(m.types[typ].params))
	groups := r.u32()
	start := r.off
	for range groups {
		n := r.u32()
		r.byte()
		if r.err != nil || n > 1<<16 || scratch > 1<<16 {
			return nil, errors.New("it has too many locals")
		}
		scratch += n
	}
	locals := body[start:r.off]
	costs, err := m.costs(&reader{b: body, off: r.off})
	if err != nil {
		return nil, err
	}
	out := append(putU32(nil, groups+1), locals...)
	out = append(out, 1, typeI64)
	out = m.check(out, &costs[0], scratch)
	loop := 1
	for r.left() > 0 {
		from := r.off
		in := r.next()
		switch {
		case in.op == opPrefix && (in.sub >= subMemoryInit && in.sub <= subTableCopy || in.sub == subTableFill) && in.sub != subDataDrop && in.sub != subElemDrop:
			out = putU32(append(out, opCall), m.charge) // the length is on top of the stack
		case in.op == opMemoryGrow:
			out = putI64(append(out, opI32Const), growCost)
			out = append(putU32(append(out, opCall), m.charge), opDrop)
		}
		out = append(out, body[from:r.off]...)
		if in.op == opLoop {
			out = m.check(out, &costs[loop], scratch)
			loop++
		}
	}
	return out, r.err
}

// costs counts the instructions of a function and of each of its loops, in the
// order in which they begin, without those of inner loops, and gives the units
// of fuel they cost.
func (m *metering) costs(r *reader) ([]int64, error) {
	costs := []int64{0}
	open := []int{0} // per open block, whose instructions stand there
	for len(open) > 0 {
		in := r.next()
		if r.err != nil {
			return nil, r.err
		}
		owner := open[len(open)-1]
		costs[owner]++
		switch in.op {
		case opBlock, opIf:
			open = append(open, owner)
		case opLoop:
			open = append(open, len(costs))
			costs = append(costs, 0)
		case opEnd:
			open = open[:len(open)-1]
		case opGlobalGet, opGlobalSet:
			if in.arg >= m.globals {
				return nil, fmt.Errorf("global %d is missing", in.arg)
			}
		}
	}
	if r.left() > 0 {
		return nil, errors.New("code follows its end")
	}
	for i := range costs {
		costs[i] = 1 + costs[i]/instructionsPerUnit
	}
	return costs, nil
}
