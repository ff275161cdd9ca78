package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

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

	maxSACK        = 4  // blocks that 40 bytes have room for
	maxFastOpen    = 16 // bytes of a cookie (RFC 7413 §4.1.1)
	minFastOpen    = 4
	tcpMD5Len      = 16 // RFC 2385 §3.0
	minTCPAO       = 2  // two identifiers of keys (RFC 5925 §2.2)
	maxSignature   = 22 // bytes behind kind and length: these, and the longest code that Linux makes
	tcpTimestamps  = 8
	tcpSACKBlock   = 8
	optionOverhead = 2 // kind and length
)

// TCPOptionSet is a set of options.
type TCPOptionSet uint16

// The options that are told apart. MPTCP, AccECN and the rest are recognised, but
// carry no value here and are never written; MD5 and AO only where one of them is set.
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

	// optSendable are the options that the encoder writes.
	optSendable = OptMSS | OptWScale | OptSACKPermitted | OptSACK | OptTimestamps | OptFastOpen | OptUserTimeout
)

var tcpOptionNames = [...]string{
	"MSS", "WScale", "SACK-permitted", "SACK", "Timestamps", "Fast-Open", "User-Timeout", "MD5", "AO", "MPTCP", "AccECN", "other",
}

// String gives "MSS|WScale", or "none".
func (s TCPOptionSet) String() string { return setString(uint64(s), tcpOptionNames[:]) }

// SACKBlock is one block of received data: Left is its first sequence number,
// Right the one behind its last (RFC 2018 §3).
type SACKBlock struct{ Left, Right Seq }

// TCPOptions holds the options of a segment as typed values; a value means
// something where its bit in Has is set. The bits of options that cannot be sent
// are ignored by the encoder.
type TCPOptions struct {
	Has          TCPOptionSet
	MSS          uint16 // bytes (RFC 9293 §3.7.1)
	WScale       uint8  // shift; above 14 counts as 14 (RFC 7323 §2.3)
	NumSACK      uint8  // 1 to 4 blocks
	FastOpenLen  uint8  // bytes: 0 for a request, or 4 to 16 and even
	UserTimeout  uint16 // as it stands in the option (RFC 5482 §3)
	SACK         [maxSACK]SACKBlock
	TSVal, TSEcr uint32
	FastOpen     [maxFastOpen]byte
	// Signature is what MD5 or AO says, which only the holder of a key can make; it is
	// written for the one of them in Has, before all other options, where its
	// length fits.
	Signature    [maxSignature]byte
	SignatureLen uint8
}

// ParseOptions reads the options into o. It refuses lengths that contradict the
// header or the kind, and known options that stand twice; o then holds what came
// before. Values whose bit in Has is not set are left as they were. Nothing
// behind an end-of-options mark is looked at.
func (v TCPView) ParseOptions(o *TCPOptions) Reason {
	o.Has, o.NumSACK, o.SignatureLen = 0, 0, 0
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
			return ReasonTCPOptionShort
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
		if len(v) == 0 || len(v)%tcpSACKBlock != 0 {
			return 0, ReasonTCPOptionSize
		}
		o.NumSACK = uint8(len(v) / tcpSACKBlock)
		for i := range o.NumSACK {
			e := v[8*i:]
			o.SACK[i] = SACKBlock{Seq(binary.BigEndian.Uint32(e)), Seq(binary.BigEndian.Uint32(e[4:]))}
		}
		return OptSACK, ReasonNone
	case tcpOptTimestamps:
		if len(v) != tcpTimestamps {
			return 0, ReasonTCPOptionSize
		}
		o.TSVal, o.TSEcr = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
		return OptTimestamps, ReasonNone
	case tcpOptFastOpen:
		if !validFastOpen(len(v)) {
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
		if len(v) != tcpMD5Len {
			return 0, ReasonTCPOptionSize
		}
		o.SignatureLen = uint8(copy(o.Signature[:], v))
		return OptMD5, ReasonNone
	case tcpOptAO:
		if len(v) < minTCPAO {
			return 0, ReasonTCPOptionSize
		}
		if len(v) <= maxSignature {
			o.SignatureLen = uint8(copy(o.Signature[:], v))
		}
		return OptAO, ReasonNone
	case tcpOptMPTCP:
		return OptMPTCP, ReasonNone
	case tcpOptAccECN0, tcpOptAccECN1:
		return OptAccECN, ReasonNone
	}
	return OptOther, ReasonNone
}

// validFastOpen reports whether a cookie may have n bytes: none in a request, or
// 4 to 16, even (RFC 7413 §4.1.1).
func validFastOpen(n int) bool {
	return n == 0 || n >= minFastOpen && n <= maxFastOpen && n%2 == 0
}

// signature gives kind and length of the option that signs the segment, 0 for none.
func (o *TCPOptions) signature() (kind uint8, n int) {
	switch n = int(o.SignatureLen); o.Has & (OptMD5 | OptAO) {
	case OptMD5:
		if n == tcpMD5Len {
			return tcpOptMD5, n
		}
	case OptAO:
		if n >= minTCPAO && n <= maxSignature {
			return tcpOptAO, n
		}
	}
	return 0, 0
}

// optionLayout says how options are written.
type optionLayout struct {
	n      int  // bytes, a multiple of 4, at most TCPMaxOptions
	packed bool // without alignment
}

// layout chooses the aligned layout, as Linux writes options, where it fits into
// limit bytes (0: TCPMaxOptions), and the packed one where that is shorter.
func (o *TCPOptions) layout(limit int) (optionLayout, error) {
	if kind, _ := o.signature(); kind == 0 && o.Has&optSendable == 0 {
		return optionLayout{}, nil
	}
	if o.Has&OptSACK != 0 && (o.NumSACK == 0 || o.NumSACK > maxSACK) || o.Has&OptFastOpen != 0 && !validFastOpen(int(o.FastOpenLen)) {
		return optionLayout{}, ErrValue
	}
	if limit <= 0 || limit > TCPMaxOptions {
		limit = TCPMaxOptions
	}
	l := optionLayout{n: o.size(false)}
	if l.n > limit {
		if n := o.size(true); n < l.n {
			l = optionLayout{n, true}
		}
	}
	if l.n > TCPMaxOptions {
		return optionLayout{}, ErrTooLong
	}
	return l, nil
}

// size is the length of the options in bytes, padded to a multiple of 4. In the
// aligned form every option, or SACK-permitted and timestamps together, is
// filled up with NOPs to a multiple of 4.
func (o *TCPOptions) size(packed bool) int {
	n := 0
	add := func(length int) {
		n += length
		if !packed {
			n = (n + 3) &^ 3
		}
	}
	if kind, length := o.signature(); kind != 0 {
		add(optionOverhead + length)
	}
	if o.Has&OptMSS != 0 {
		add(optionOverhead + 2)
	}
	switch o.Has & (OptSACKPermitted | OptTimestamps) {
	case OptSACKPermitted:
		add(optionOverhead)
	case OptTimestamps:
		add(optionOverhead + tcpTimestamps)
	case OptSACKPermitted | OptTimestamps:
		add(2*optionOverhead + tcpTimestamps)
	}
	if o.Has&OptWScale != 0 {
		add(optionOverhead + 1)
	}
	if o.Has&OptSACK != 0 {
		add(optionOverhead + tcpSACKBlock*int(o.NumSACK))
	}
	if o.Has&OptFastOpen != 0 {
		add(optionOverhead + int(o.FastOpenLen))
	}
	if o.Has&OptUserTimeout != 0 {
		add(optionOverhead + 2)
	}
	return (n + 3) &^ 3
}

// encode writes the options into b, which has exactly the layout's length, in
// the order of Linux (net/ipv4/tcp_output.c, tcp_options_write): signature, MSS,
// SACK-permitted, timestamps, window scale, SACK, Fast Open; and last the user
// timeout, which Linux does not send.
func (o *TCPOptions) encode(b []byte, packed bool) {
	w := optionWriter{b, packed}
	switch kind, n := o.signature(); kind {
	case tcpOptMD5:
		w.align(2)
		copy(w.next(kind, n), o.Signature[:n])
	case tcpOptAO:
		copy(w.next(kind, n), o.Signature[:n])
		w.align(-(optionOverhead + n) & 3)
	}
	if o.Has&OptMSS != 0 {
		binary.BigEndian.PutUint16(w.next(tcpOptMSS, 2), o.MSS)
	}
	switch o.Has & (OptSACKPermitted | OptTimestamps) {
	case OptSACKPermitted | OptTimestamps:
		w.next(tcpOptSACKPermitted, 0)
		w.timestamps(o)
	case OptSACKPermitted:
		w.align(2)
		w.next(tcpOptSACKPermitted, 0)
	case OptTimestamps:
		w.align(2)
		w.timestamps(o)
	}
	if o.Has&OptWScale != 0 {
		w.align(1)
		w.next(tcpOptWScale, 1)[0] = o.WScale
	}
	if o.Has&OptSACK != 0 {
		w.align(2)
		v := w.next(tcpOptSACK, tcpSACKBlock*int(o.NumSACK))
		for i, block := range o.SACK[:o.NumSACK] {
			binary.BigEndian.PutUint32(v[tcpSACKBlock*i:], uint32(block.Left))
			binary.BigEndian.PutUint32(v[tcpSACKBlock*i+4:], uint32(block.Right))
		}
	}
	if o.Has&OptFastOpen != 0 {
		copy(w.next(tcpOptFastOpen, int(o.FastOpenLen)), o.FastOpen[:])
		w.align(-(optionOverhead + int(o.FastOpenLen)) & 3)
	}
	if o.Has&OptUserTimeout != 0 {
		binary.BigEndian.PutUint16(w.next(tcpOptUserTimeout, 2), o.UserTimeout)
	}
	clear(w.b) // end of options, up to 3 times
}

// optionWriter writes options one behind the other.
type optionWriter struct {
	b      []byte // what is left
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
	w.b[0], w.b[1] = kind, uint8(optionOverhead+length)
	v := w.b[optionOverhead : optionOverhead+length]
	w.b = w.b[optionOverhead+length:]
	return v
}

func (w *optionWriter) timestamps(o *TCPOptions) {
	v := w.next(tcpOptTimestamps, tcpTimestamps)
	binary.BigEndian.PutUint32(v, o.TSVal)
	binary.BigEndian.PutUint32(v[4:], o.TSEcr)
}

// String gives "mss 1460, sack-permitted, timestamps 1 0, wscale 7".
func (o TCPOptions) String() string {
	var s []string
	add := func(bit TCPOptionSet, format string, args ...any) {
		if o.Has&bit != 0 {
			s = append(s, fmt.Sprintf(format, args...))
		}
	}
	add(OptMSS, "mss %d", o.MSS)
	add(OptSACKPermitted, "sack-permitted")
	add(OptTimestamps, "timestamps %d %d", o.TSVal, o.TSEcr)
	add(OptWScale, "wscale %d", o.WScale)
	for _, block := range o.SACK[:min(o.NumSACK, maxSACK)] {
		add(OptSACK, "sack %d-%d", block.Left, block.Right)
	}
	add(OptFastOpen, "fast-open %x", o.FastOpen[:min(o.FastOpenLen, maxFastOpen)])
	add(OptUserTimeout, "user-timeout %d", o.UserTimeout)
	if rest := o.Has &^ optSendable; rest != 0 {
		s = append(s, rest.String())
	}
	return strings.Join(s, ", ")
}

// SameOptions reports whether the options of h, as they are written, are those of a
// received segment byte for byte.
func (h *TCP) SameOptions(v TCPView) bool {
	var b [TCPMaxOptions]byte
	l, err := h.check()
	if err != nil || l.n != len(v.Options()) {
		return false
	}
	if l.n > 0 {
		h.Options.encode(b[:l.n], l.packed)
	}
	return bytes.Equal(b[:l.n], v.Options())
}
