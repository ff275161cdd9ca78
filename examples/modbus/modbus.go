// Package modbus lets only Modbus/TCP requests pass whose function code, unit
// and registers are on a list, and builds every message anew. It works on the
// bytes of connections: messages may be cut over segments anywhere.
package modbus

import (
	"fmt"

	"github.com/promethos/promethos/pfm"
)

// Module is what guest exports.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "modbus", BindStream: bind}}}

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

// Modbus Messaging on TCP/IP V1.0b, §3.1.3: MBAP and a PDU of 253 bytes at most.
const (
	mbapLen = 7
	maxPDU  = 253
)

// allowed is one entry of the list.
type allowed struct {
	function byte
	from, to uint16
}

type filter struct {
	allow   []allowed
	units   [256]bool
	answers bool   // a refused request with an exception, and not with a reset
	out     []byte // of the message that is being built
}

func bind(b *pfm.Binding) (pfm.StreamProcessor, error) {
	refusal, _ := b.Setting("refusal")
	f := &filter{answers: refusal == "exception"}
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

// process judges the messages that are whole, and waits for the rest of another.
func (f *filter) process(s *pfm.Stream) pfm.Verdict {
	in := s.Waiting()
	for len(in) >= mbapLen-1 {
		if be16(in[2:]) != 0 {
			return s.Refuse(reasonProtocol)
		}
		length := int(be16(in[4:])) // of unit and PDU
		if length < 2 || length > maxPDU+1 {
			return s.Refuse(reasonLength)
		}
		if len(in) < mbapLen-1+length {
			break
		}
		message := in[:mbapLen-1+length]
		in = in[len(message):]
		unit, pdu := message[mbapLen-1], message[mbapLen:]
		f.out = append(f.out[:0], message[0], message[1], 0, 0, 0, 0, unit)
		r := reasonUnit
		switch {
		case !f.units[unit]:
		case s.Dir() == pfm.ServerToClient:
			r = f.response(pdu)
		default:
			r = f.request(pdu)
		}
		code := exceptions[r]
		switch {
		case r == 0:
			put16(f.out[4:], uint16(len(f.out)-mbapLen+1))
			s.Send(f.out)
		case !f.answers || code == 0 || s.Dir() == pfm.ServerToClient:
			return s.Refuse(r)
		case !s.Deny(r):
			s.Pass(len(message)) // in monitor mode the PLC answers
			continue
		case !s.Reply([]byte{message[0], message[1], 0, 0, 0, 3, unit, pdu[0] | exception, code}):
			return s.Refuse(r)
		}
		s.Skip(len(message))
	}
	return pfm.Accept
}

// exceptions are what a client is told (§7) whose request is refused, in the PLC's
// place. Who contradicts himself gets none: nobody knows where his next message begins.
var exceptions = map[pfm.Reason]byte{
	reasonFunction: 1, reasonRegister: 2, reasonQuantity: 3,
	reasonUnit: 10, // gateway path unavailable
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
func (f *filter) request(pdu []byte) pfm.Reason {
	function, body := pdu[0], pdu[1:]
	known := function == writeSingleCoil || function == writeSingleRegister || function == maskWriteRegister || function == readWriteRegisters ||
		limits[function].quantity > 0
	if !known {
		return reasonFunction
	}
	if len(body) < 4 {
		return reasonLength
	}
	first, quantity := be16(body), be16(body[2:])
	switch function {
	case writeSingleCoil, writeSingleRegister:
		if len(body) != 4 {
			return reasonLength
		}
		if function == writeSingleCoil && quantity != 0 && quantity != 0xff00 {
			return reasonQuantity
		}
		if !f.may(function, first, 1) {
			return reasonRegister
		}
		f.put(function, first, quantity)
		return 0
	case maskWriteRegister:
		if len(body) != 6 {
			return reasonLength
		}
		if !f.may(function, first, 1) {
			return reasonRegister
		}
		f.put(function, first, quantity, be16(body[4:]))
		return 0
	case readWriteRegisters:
		return f.readWrite(body, first, quantity)
	}
	if quantity == 0 || quantity > limits[function].quantity {
		return reasonQuantity
	}
	if !f.may(function, first, quantity) {
		return reasonRegister
	}
	f.put(function, first, quantity)
	body = body[4:]
	if function < writeMultipleCoils {
		if len(body) > 0 {
			return reasonLength
		}
		return 0
	}
	n := dataBytes(function, quantity)
	if len(body) != 1+n || int(body[0]) != n {
		return reasonLength
	}
	f.out = append(append(f.out, byte(n)), body[1:]...)
	return 0
}

// readWrite is function 23: quantities of 125 and 121 at most (§6.17).
func (f *filter) readWrite(body []byte, first, quantity uint16) pfm.Reason {
	if len(body) < 9 {
		return reasonLength
	}
	to, count := be16(body[4:]), be16(body[6:])
	if quantity == 0 || quantity > 125 || count == 0 || count > 121 {
		return reasonQuantity
	}
	if len(body) != 9+2*int(count) || int(body[8]) != 2*int(count) {
		return reasonLength
	}
	if !f.may(readWriteRegisters, first, quantity) || !f.may(readWriteRegisters, to, count) {
		return reasonRegister
	}
	f.put(readWriteRegisters, first, quantity, to, count)
	f.out = append(append(f.out, body[8]), body[9:]...)
	return 0
}

// response reads a response and builds it anew.
func (f *filter) response(pdu []byte) pfm.Reason {
	function, body := pdu[0], pdu[1:]
	want := 4
	switch function &^ exception {
	case readCoils, readDiscreteInputs, readHoldingRegisters, readInputRegisters, readWriteRegisters:
		if len(body) == 0 {
			return reasonLength
		}
		want = 1 + int(body[0])
	case writeSingleCoil, writeSingleRegister, writeMultipleCoils, writeMultipleRegisters:
	case maskWriteRegister:
		want = 6
	default:
		return reasonFunction
	}
	if function&exception != 0 {
		if len(body) != 1 || body[0] == 0 || body[0] > 11 { // §7
			return reasonException
		}
		want = 1
	}
	if len(body) != want {
		return reasonLength
	}
	f.out = append(append(f.out, function), body...)
	return 0
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }
