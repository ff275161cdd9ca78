// Package dnsguard builds UDP DNS messages anew after the checklist of RFC 9267:
// compression pointers, label and name lengths, counts and RDLENGTH are read
// strictly, and written by an encoder of its own.
package dnsguard

import "github.com/promethos/promethos/pfm"

// Module is what guest exports.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "dnsguard", Bind: bind}}}

const (
	headerLen = 12 // RFC 1035 §4.1.1
	flagQR    = 0x8000
	opcodes   = 0x7800
	flagZ     = 0x0040
)

func bind(b *pfm.Binding) (pfm.Processor, error) {
	g := &guard{maxRecords: int(b.Int("max_records"))}
	return g.process, nil
}

// guard reads a message and writes it anew.
type guard struct {
	maxRecords int
	reader
	writer
}

func (g *guard) process(x *pfm.Exchange) pfm.Verdict {
	if !x.Has(pfm.HasUDP) {
		return pfm.Accept
	}
	if !x.IsBuilt() {
		if _, stop := x.Rebuild(); stop {
			return pfm.Stopped
		}
	}
	in := x.Payload()
	g.reader.reset(in)
	g.writer.reset()
	if r := g.message(x.Dir() == pfm.ClientToServer); r != 0 {
		return x.Refuse(r, uint64(g.at))
	}
	if g.at < len(in) {
		if g.signed {
			return x.Refuse(reasonSigned, uint64(g.at))
		}
		if x.Finding(reasonTrailing, uint64(len(in)-g.at)) {
			return pfm.Stopped
		}
	}
	if g.reserved {
		if g.signed {
			return x.Refuse(reasonSigned, uint64(flagZ))
		}
		if x.Finding(reasonReserved, uint64(flagZ)) {
			return pfm.Stopped
		}
	}
	if g.signed && string(g.out) != string(in) {
		return x.Refuse(reasonSigned, uint64(len(in)))
	}
	x.SetPayload(g.out)
	return pfm.Accept
}

// message reads and writes header, question and records.
func (g *guard) message(query bool) pfm.Reason {
	if len(g.in) < headerLen {
		return reasonHeader
	}
	flags := be16(g.in[2:])
	if query == (flags&flagQR != 0) {
		return reasonDirection
	}
	if flags&opcodes != 0 {
		return reasonOpcode
	}
	g.reserved = flags&flagZ != 0
	questions, records := be16(g.in[4:]), 0
	if questions > 1 || query && questions == 0 {
		return reasonQuestions // RFC 9619
	}
	var counts [3]uint16
	for i := range counts {
		counts[i] = be16(g.in[6+2*i:])
		records += int(counts[i])
	}
	if query && (counts[0] != 0 || counts[1] != 0) || records > g.maxRecords {
		return reasonCount
	}
	g.out = append(g.out, g.in[:headerLen]...)
	put16(g.out[2:], flags&^flagZ)
	g.at = headerLen
	if questions == 1 {
		if r := g.name(true); r != 0 {
			return r
		}
		if r := g.copy(4); r != 0 { // type and class
			return reasonCount
		}
	}
	for section, n := range counts {
		for i := range n {
			last := section == 2 && i == n-1
			if r := g.record(last); r != 0 {
				return r
			}
		}
	}
	return 0
}

// Types whose data are read: those that hold names may be compressed (RFC 3597
// §4), and others have a length of their own.
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeMX    = 15
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeOPT   = 41
	typeTSIG  = 250
)

// record reads and writes one record. RFC 9267 §7: RDLENGTH is what the data
// need, no more and no less.
func (g *guard) record(last bool) pfm.Reason {
	if g.at >= len(g.in) {
		return reasonCount
	}
	if r := g.name(true); r != 0 {
		return r
	}
	if len(g.in)-g.at < 10 {
		return reasonCount
	}
	typ, length := be16(g.in[g.at:]), int(be16(g.in[g.at+8:]))
	g.out = append(g.out, g.in[g.at:g.at+8]...)
	g.at += 10
	at := len(g.out)
	g.out = append(g.out, 0, 0)
	if length > len(g.in)-g.at {
		return reasonLength
	}
	end := g.at + length
	if r := g.data(typ, end, last); r != 0 {
		return r
	}
	if g.at != end {
		return reasonLength
	}
	put16(g.out[at:], uint16(len(g.out)-at-2))
	return 0
}

func (g *guard) data(typ uint16, end int, last bool) pfm.Reason {
	n := end - g.at
	switch typ {
	case typeA:
		if n != 4 {
			return reasonLength
		}
	case typeAAAA:
		if n != 16 {
			return reasonLength
		}
	case typeNS, typeCNAME, typePTR:
		return g.name(true)
	case typeMX, typeSRV:
		fixed := 2
		if typ == typeSRV {
			fixed = 6
		}
		if n < fixed+1 {
			return reasonLength
		}
		g.copy(fixed)
		return g.name(typ == typeMX) // RFC 2782: a target is not compressed
	case typeSOA:
		if r := g.name(true); r != 0 {
			return r
		}
		if r := g.name(true); r != 0 {
			return r
		}
		if end-g.at != 20 {
			return reasonLength
		}
		n = 20
	case typeTXT:
		return g.strings(end)
	case typeOPT:
		return g.options(end)
	case typeTSIG:
		if !last {
			return reasonSigned // RFC 8945 §5.1
		}
		g.signed = true
	}
	return g.copy(n)
}

// strings reads character strings (RFC 1035 §3.3.14): one at least.
func (g *guard) strings(end int) pfm.Reason {
	for first := true; first || g.at < end; first = false {
		if g.at >= end || 1+int(g.in[g.at]) > end-g.at {
			return reasonLength
		}
		g.copy(1 + int(g.in[g.at]))
	}
	return 0
}

// options reads EDNS options (RFC 6891 §6.1.2).
func (g *guard) options(end int) pfm.Reason {
	for g.at < end {
		if end-g.at < 4 || 4+int(be16(g.in[g.at+2:])) > end-g.at {
			return reasonLength
		}
		g.copy(4 + int(be16(g.in[g.at+2:])))
	}
	return 0
}

// copy takes over bytes without structure.
func (g *guard) copy(n int) pfm.Reason {
	if n > len(g.in)-g.at {
		return reasonLength
	}
	g.out = append(g.out, g.in[g.at:g.at+n]...)
	g.at += n
	return 0
}

// name reads a name and writes it, compressed where it may be.
func (g *guard) name(compress bool) pfm.Reason {
	if r := g.readName(); r != 0 {
		return r
	}
	g.writeName(g.labels[:g.labelsLen], compress)
	return 0
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }
