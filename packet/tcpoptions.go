package packet

import "encoding/binary"

// Kinds of TCP options (IANA "TCP Option Kind Numbers").
const (
	tcpOptEnd           = 0
	tcpOptNop           = 1
	tcpOptMSS           = 2
	tcpOptWScale        = 3
	tcpOptSACKPermitted = 4
	tcpOptSACK          = 5
	tcpOptTimestamps    = 8
	tcpOptMD5           = 19
	tcpOptUserTimeout   = 28
	tcpOptAO            = 29
	tcpOptMPTCP         = 30
	tcpOptFastOpen      = 34
	tcpOptAccECN0       = 172
	tcpOptAccECN1       = 174
)

// TCPOptionSet is a set of options.
type TCPOptionSet uint16

// The options that are told apart. MD5, AO, MPTCP, AccECN and the rest are
// recognised, but carry no value here and are never written.
const (
	OptMSS TCPOptionSet = 1 << iota
	OptWScale
	OptSACKPermitted
	OptSACK
	OptTimestamps
	OptFastOpen
	OptUserTimeout
	OptMD5
	OptAO
	OptMPTCP
	OptAccECN
	OptOther
)

// SACKBlock is one block of received data: Left is its first sequence number,
// Right the one behind its last (RFC 2018 §3).
type SACKBlock struct{ Left, Right Seq }

// TCPOptions holds the options of a segment as typed values; a value means
// something where its bit in Has is set.
type TCPOptions struct {
	Has          TCPOptionSet
	MSS          uint16
	WScale       uint8
	NumSACK      uint8
	FastOpenLen  uint8
	UserTimeout  uint16
	SACK         [4]SACKBlock
	TSVal, TSEcr uint32
	FastOpen     [16]byte
}

// ParseOptions reads the options into o. It refuses lengths that contradict the
// header or the kind, and known options that stand twice.
func (v TCPView) ParseOptions(o *TCPOptions) Reason {
	o.Has, o.NumSACK = 0, 0
	b := v.Options()
	for len(b) > 0 {
		kind := b[0]
		if kind == tcpOptEnd {
			return ReasonNone
		}
		if kind == tcpOptNop {
			b = b[1:]
			continue
		}
		if len(b) < 2 {
			return ReasonTCPOptionEnd
		}
		n := int(b[1])
		switch {
		case n == 0:
			return ReasonTCPOptionZero
		case n == 1:
			return ReasonTCPOptionOne
		case n > len(b):
			return ReasonTCPOptionEnd
		}
		bit, r := o.parse(kind, b[2:n])
		if r != ReasonNone {
			return r
		}
		if o.Has&bit != 0 && bit&(OptOther|OptMPTCP|OptAccECN) == 0 {
			return ReasonTCPOptionTwice
		}
		o.Has |= bit
		b = b[n:]
	}
	return ReasonNone
}

// parse reads one option's value.
func (o *TCPOptions) parse(kind uint8, v []byte) (TCPOptionSet, Reason) {
	switch kind {
	case tcpOptMSS:
		if len(v) != 2 {
			return 0, ReasonTCPOptionSize
		}
		o.MSS = binary.BigEndian.Uint16(v)
		return OptMSS, ReasonNone
	case tcpOptWScale:
		if len(v) != 1 {
			return 0, ReasonTCPOptionSize
		}
		o.WScale = v[0]
		return OptWScale, ReasonNone
	case tcpOptSACKPermitted:
		if len(v) != 0 {
			return 0, ReasonTCPOptionSize
		}
		return OptSACKPermitted, ReasonNone
	case tcpOptSACK:
		if len(v) == 0 || len(v)%8 != 0 {
			return 0, ReasonTCPOptionSize
		}
		o.NumSACK = uint8(len(v) / 8)
		for i := range o.NumSACK {
			e := v[8*i:]
			o.SACK[i] = SACKBlock{Seq(binary.BigEndian.Uint32(e)), Seq(binary.BigEndian.Uint32(e[4:]))}
		}
		return OptSACK, ReasonNone
	case tcpOptTimestamps:
		if len(v) != 8 {
			return 0, ReasonTCPOptionSize
		}
		o.TSVal, o.TSEcr = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
		return OptTimestamps, ReasonNone
	case tcpOptFastOpen: // RFC 7413 §4.1.1: no cookie, or 4 to 16 bytes, even
		if len(v) > 16 || len(v)%2 != 0 || len(v) == 2 {
			return 0, ReasonTCPOptionSize
		}
		o.FastOpenLen = uint8(copy(o.FastOpen[:], v))
		return OptFastOpen, ReasonNone
	case tcpOptUserTimeout:
		if len(v) != 2 {
			return 0, ReasonTCPOptionSize
		}
		o.UserTimeout = binary.BigEndian.Uint16(v)
		return OptUserTimeout, ReasonNone
	case tcpOptMD5:
		if len(v) != 16 {
			return 0, ReasonTCPOptionSize
		}
		return OptMD5, ReasonNone
	case tcpOptAO:
		if len(v) < 2 {
			return 0, ReasonTCPOptionSize
		}
		return OptAO, ReasonNone
	case tcpOptMPTCP:
		return OptMPTCP, ReasonNone
	case tcpOptAccECN0, tcpOptAccECN1:
		return OptAccECN, ReasonNone
	}
	return OptOther, ReasonNone
}

// layout tells how many bytes the options take, a multiple of 4, and whether
// they are written without alignment because the aligned form is longer than
// limit. It may exceed TCPMaxOptions, which cannot be sent.
func (o *TCPOptions) layout(limit int) (n int, packed bool) {
	if o.Has == 0 {
		return 0, false
	}
	n = o.size(false)
	if n <= limit && n <= TCPMaxOptions {
		return n, false
	}
	if p := o.size(true); p < n {
		return p, true
	}
	return n, false
}

// size is the length of the options in bytes, padded to a multiple of 4. In the
// aligned form every option, or SACK-permitted and timestamps together, starts
// so that its values lie on 4-byte borders, as Linux writes them.
func (o *TCPOptions) size(packed bool) int {
	pad := func(n, aligned int) int {
		if packed {
			return n
		}
		return aligned
	}
	n := 0
	if o.Has&OptMSS != 0 {
		n += 4
	}
	switch {
	case o.Has&OptTimestamps != 0 && o.Has&OptSACKPermitted != 0:
		n += 12
	case o.Has&OptTimestamps != 0:
		n += pad(10, 12)
	case o.Has&OptSACKPermitted != 0:
		n += pad(2, 4)
	}
	if o.Has&OptWScale != 0 {
		n += pad(3, 4)
	}
	if o.Has&OptUserTimeout != 0 {
		n += 4
	}
	if o.Has&OptFastOpen != 0 {
		n += pad(2+int(o.FastOpenLen), (2+int(o.FastOpenLen)+3)&^3)
	}
	if o.Has&OptSACK != 0 {
		n += pad(2+8*int(o.NumSACK), 4+8*int(o.NumSACK))
	}
	return (n + 3) &^ 3
}

// encode writes the options into b, which has exactly the layout's length: in
// the order MSS, SACK-permitted, timestamps, window scale, user timeout, Fast
// Open, SACK.
func (o *TCPOptions) encode(b []byte, packed bool) {
	w := optionWriter{b: b, packed: packed}
	if o.Has&OptMSS != 0 {
		binary.BigEndian.PutUint16(w.next(tcpOptMSS, 2), o.MSS)
	}
	if o.Has&OptSACKPermitted != 0 {
		if o.Has&OptTimestamps == 0 {
			w.align(2)
		}
		w.next(tcpOptSACKPermitted, 0)
	}
	if o.Has&OptTimestamps != 0 {
		if o.Has&OptSACKPermitted == 0 {
			w.align(2)
		}
		v := w.next(tcpOptTimestamps, 8)
		binary.BigEndian.PutUint32(v, o.TSVal)
		binary.BigEndian.PutUint32(v[4:], o.TSEcr)
	}
	if o.Has&OptWScale != 0 {
		w.align(1)
		w.next(tcpOptWScale, 1)[0] = o.WScale
	}
	if o.Has&OptUserTimeout != 0 {
		binary.BigEndian.PutUint16(w.next(tcpOptUserTimeout, 2), o.UserTimeout)
	}
	if o.Has&OptFastOpen != 0 {
		w.align(-(2 + int(o.FastOpenLen)) & 3)
		copy(w.next(tcpOptFastOpen, int(o.FastOpenLen)), o.FastOpen[:])
	}
	if o.Has&OptSACK != 0 {
		w.align(2)
		v := w.next(tcpOptSACK, 8*int(o.NumSACK))
		for i := range o.NumSACK {
			binary.BigEndian.PutUint32(v[8*i:], uint32(o.SACK[i].Left))
			binary.BigEndian.PutUint32(v[8*i+4:], uint32(o.SACK[i].Right))
		}
	}
	for i := range w.b {
		w.b[i] = tcpOptEnd
	}
}

// optionWriter writes options one behind the other.
type optionWriter struct {
	b      []byte
	packed bool
}

// align writes n NOPs, unless options are packed.
func (w *optionWriter) align(n int) {
	if w.packed {
		return
	}
	for i := range n {
		w.b[i] = tcpOptNop
	}
	w.b = w.b[n:]
}

// next writes kind and length and returns the room for the value.
func (w *optionWriter) next(kind uint8, length int) []byte {
	w.b[0], w.b[1] = kind, uint8(2+length)
	v := w.b[2 : 2+length]
	w.b = w.b[2+length:]
	return v
}
