// Package modbus lets only Modbus/TCP requests pass whose function code, unit
// and registers are on a list, and builds every message anew.
package modbus

import (
	"fmt"

	"github.com/promethos/promethos/pfm"
)

// Module is what guest exports.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "modbus", Bind: bind}}}

// Function codes (Modbus Application Protocol V1.1b3, §6) that are understood.
const (
	readCoils              = 1
	readDiscreteInputs     = 2
	readHoldingRegisters   = 3
	readInputRegisters     = 4
	writeSingleCoil        = 5
	writeSingleRegister    = 6
	writeMultipleCoils     = 15
	writeMultipleRegisters = 16
	maskWriteRegister      = 22
	readWriteRegisters     = 23
	exception              = 0x80
)

const (
	mbapLen = 7   // Modbus Messaging on TCP/IP V1.0b, §3.1.3
	maxADU  = 260 // §3.1.3: MBAP and a PDU of 253
	maxPDU  = 253
)

// allowed is one entry of the list.
type allowed struct {
	function byte
	from, to uint16
}

type filter struct {
	allow []allowed
	units [256]bool
	out   []byte // of the message that is being built
}

func bind(b *pfm.Binding) (pfm.Processor, error) {
	f := &filter{}
	for i := range b.Len("allow") {
		a := allowed{
			function: byte(b.Int(pfm.Item("allow", i, "function"))),
			from:     uint16(b.Int(pfm.Item("allow", i, "from"))), to: uint16(b.Int(pfm.Item("allow", i, "to"))),
		}
		if a.from > a.to {
			return nil, fmt.Errorf("allow[%d]: from %d is above to %d", i, a.from, a.to)
		}
		f.allow = append(f.allow, a)
	}
	for i := range b.Len("units") {
		f.units[byte(b.Int(pfm.Item("units", i, "")))] = true
	}
	if b.Len("units") == 0 {
		for i := range f.units {
			f.units[i] = true
		}
	}
	return f.process, nil
}

// process judges the messages of one segment. A segment holds whole messages:
// that is how devices and clients send them, and a message in two segments cannot
// be judged packet by packet.
func (f *filter) process(x *pfm.Exchange) pfm.Verdict {
	in := x.Payload()
	if len(in) == 0 {
		return pfm.Accept
	}
	f.out = f.out[:0]
	for len(in) > 0 {
		if len(in) < mbapLen+1 {
			return x.Refuse(reasonSplit, uint64(len(in)))
		}
		if p := be16(in[2:]); p != 0 {
			return x.Refuse(reasonProtocol, uint64(p))
		}
		length := int(be16(in[4:])) // of unit and PDU
		if length < 2 || length > maxPDU+1 {
			return x.Refuse(reasonLength, uint64(length))
		}
		if 6+length > len(in) {
			return x.Refuse(reasonSplit, uint64(length))
		}
		if unit := in[6]; !f.units[unit] {
			return x.Refuse(reasonUnit, uint64(unit))
		}
		at := len(f.out)
		f.out = append(f.out, in[0], in[1], 0, 0, 0, 0, in[6])
		var r pfm.Reason
		var value uint64
		if pdu := in[mbapLen : 6+length]; x.Dir() == pfm.ClientToServer {
			r, value = f.request(pdu)
		} else {
			r, value = f.response(pdu)
		}
		if r != 0 {
			return x.Refuse(r, value)
		}
		put16(f.out[at+4:], uint16(len(f.out)-at-6))
		in = in[6+length:]
	}
	x.SetPayload(f.out)
	return pfm.Accept
}

// put appends numbers of 16 bits.
func (f *filter) put(function byte, values ...uint16) {
	f.out = append(f.out, function)
	for _, v := range values {
		f.out = append(f.out, byte(v>>8), byte(v))
	}
}

// may reports whether a function may touch registers from first on.
func (f *filter) may(function byte, first, count uint16) bool {
	last := int(first) + int(count) - 1
	for _, a := range f.allow {
		if a.function == function && first >= a.from && last <= int(a.to) {
			return true
		}
	}
	return false
}

// limits are the quantities that §6 allows per function, and how many units of
// what stands behind the byte count make one.
var limits = map[byte]struct{ quantity uint16 }{
	readCoils: {2000}, readDiscreteInputs: {2000}, readHoldingRegisters: {125}, readInputRegisters: {125},
	writeMultipleCoils: {1968}, writeMultipleRegisters: {123},
}

// dataBytes is the byte count that a quantity needs.
func dataBytes(function byte, quantity uint16) int {
	switch function {
	case readCoils, readDiscreteInputs, writeMultipleCoils:
		return (int(quantity) + 7) / 8
	}
	return 2 * int(quantity)
}

// request reads a request and builds it anew.
func (f *filter) request(pdu []byte) (pfm.Reason, uint64) {
	function, body := pdu[0], pdu[1:]
	known := function == writeSingleCoil || function == writeSingleRegister || function == maskWriteRegister || function == readWriteRegisters ||
		limits[function].quantity > 0
	if !known {
		return reasonFunction, uint64(function)
	}
	if len(body) < 4 {
		return reasonLength, uint64(len(pdu))
	}
	first, quantity := be16(body), be16(body[2:])
	switch function {
	case writeSingleCoil, writeSingleRegister:
		if len(body) != 4 {
			return reasonLength, uint64(len(pdu))
		}
		if function == writeSingleCoil && quantity != 0 && quantity != 0xff00 {
			return reasonQuantity, uint64(quantity)
		}
		if !f.may(function, first, 1) {
			return reasonRegister, uint64(first)
		}
		f.put(function, first, quantity)
		return 0, 0
	case maskWriteRegister:
		if len(body) != 6 {
			return reasonLength, uint64(len(pdu))
		}
		if !f.may(function, first, 1) {
			return reasonRegister, uint64(first)
		}
		f.put(function, first, quantity, be16(body[4:]))
		return 0, 0
	case readWriteRegisters:
		return f.readWrite(body, first, quantity)
	}
	if quantity == 0 || quantity > limits[function].quantity {
		return reasonQuantity, uint64(quantity)
	}
	if !f.may(function, first, quantity) {
		return reasonRegister, uint64(first)
	}
	f.put(function, first, quantity)
	body = body[4:]
	if function < writeMultipleCoils {
		if len(body) > 0 {
			return reasonLength, uint64(len(pdu))
		}
		return 0, 0
	}
	n := dataBytes(function, quantity)
	if len(body) != 1+n || int(body[0]) != n {
		return reasonLength, uint64(len(pdu))
	}
	f.out = append(append(f.out, byte(n)), body[1:]...)
	return 0, 0
}

// readWrite is function 23: quantities of 125 and 121 at most (§6.17).
func (f *filter) readWrite(body []byte, first, quantity uint16) (pfm.Reason, uint64) {
	if len(body) < 9 {
		return reasonLength, uint64(len(body) + 1)
	}
	to, count := be16(body[4:]), be16(body[6:])
	if quantity == 0 || quantity > 125 || count == 0 || count > 121 {
		return reasonQuantity, uint64(count)
	}
	if len(body) != 9+2*int(count) || int(body[8]) != 2*int(count) {
		return reasonLength, uint64(len(body) + 1)
	}
	if !f.may(readWriteRegisters, first, quantity) || !f.may(readWriteRegisters, to, count) {
		return reasonRegister, uint64(to)
	}
	f.put(readWriteRegisters, first, quantity, to, count)
	f.out = append(append(f.out, body[8]), body[9:]...)
	return 0, 0
}

// response reads a response and builds it anew.
func (f *filter) response(pdu []byte) (pfm.Reason, uint64) {
	function, body := pdu[0], pdu[1:]
	want := 4
	switch function &^ exception {
	case readCoils, readDiscreteInputs, readHoldingRegisters, readInputRegisters, readWriteRegisters:
		if len(body) == 0 {
			return reasonLength, uint64(len(pdu))
		}
		want = 1 + int(body[0])
	case writeSingleCoil, writeSingleRegister, writeMultipleCoils, writeMultipleRegisters:
	case maskWriteRegister:
		want = 6
	default:
		return reasonFunction, uint64(function)
	}
	if function&exception != 0 {
		if len(body) != 1 || body[0] == 0 || body[0] > 11 { // §7
			return reasonException, uint64(len(body))
		}
		want = 1
	}
	if len(body) != want {
		return reasonLength, uint64(len(pdu))
	}
	f.out = append(append(f.out, function), body...)
	return 0, 0
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }
