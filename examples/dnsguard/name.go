package dnsguard

import "github.com/promethos/promethos/pfm"

const (
	maxName    = 255 // RFC 1035 §2.3.4, with the last zero
	maxLabel   = 63
	pointer    = 0xc0
	maxOffset  = 0x3fff
	maxTargets = 64
)

// reader reads a message.
type reader struct {
	in       []byte
	at       int
	signed   bool // it has a TSIG record
	reserved bool // its reserved bit is set
	// labels is the name that was read last, without compression.
	labels    [maxName]byte
	labelsLen int
}

func (r *reader) reset(in []byte) {
	r.in, r.at, r.signed, r.reserved, r.labelsLen = in, 0, false, false, 0
}

// readName reads a name (RFC 9267 §2 to §5). A pointer leads to before the name
// that it stands in, so that no chain of them ends nowhere.
func (r *reader) readName() pfm.Reason {
	at, low, jumped := r.at, r.at, false
	r.labelsLen = 0
	for {
		if at >= len(r.in) {
			return reasonEnd
		}
		n := int(r.in[at])
		switch {
		case n == 0:
			r.labels[r.labelsLen] = 0
			r.labelsLen++
			if !jumped {
				r.at = at + 1
			}
			return 0
		case n&pointer == pointer:
			if at+1 >= len(r.in) {
				return reasonEnd
			}
			to := int(be16(r.in[at:])) & maxOffset
			if to >= low || to < headerLen {
				return reasonPointer
			}
			if !jumped {
				r.at = at + 2
			}
			at, low, jumped = to, to, true
		case n > maxLabel:
			return reasonLabel
		case r.labelsLen+1+n >= maxName:
			return reasonName
		case at+1+n > len(r.in):
			return reasonEnd
		default:
			r.labelsLen += copy(r.labels[r.labelsLen:], r.in[at:at+1+n])
			at += 1 + n
		}
	}
}

// writer writes a message.
type writer struct {
	out []byte
	// targets are where names stand that pointers may lead to.
	targets  [maxTargets]uint16
	nTargets int
}

func (w *writer) reset() { w.out, w.nTargets = w.out[:0], 0 }

// writeName writes a name of labels with its zero. With compress the longest end
// that stands in the message already becomes a pointer (RFC 1035 §4.1.4).
func (w *writer) writeName(name []byte, compress bool) {
	for len(name) > 1 {
		if compress {
			if to, ok := w.find(name); ok {
				w.out = append(w.out, pointer|byte(to>>8), byte(to))
				return
			}
		}
		if at := len(w.out); at <= maxOffset && w.nTargets < maxTargets {
			w.targets[w.nTargets] = uint16(at)
			w.nTargets++
		}
		n := 1 + int(name[0])
		w.out = append(w.out, name[:n]...)
		name = name[n:]
	}
	w.out = append(w.out, 0)
}

// find looks for a name in what was written, letter by letter as it stands.
func (w *writer) find(name []byte) (uint16, bool) {
	for _, to := range w.targets[:w.nTargets] {
		if w.same(int(to), name) {
			return to, true
		}
	}
	return 0, false
}

// same compares a written name with one of labels. What is being written has no
// end yet and is no target.
func (w *writer) same(at int, name []byte) bool {
	for {
		if at >= len(w.out) {
			return false
		}
		n := int(w.out[at])
		switch {
		case n&pointer == pointer:
			if at+1 >= len(w.out) {
				return false
			}
			at = int(be16(w.out[at:])) & maxOffset
		case n != int(name[0]):
			return false
		case n == 0:
			return true
		case at+1+n > len(w.out) || string(w.out[at:at+1+n]) != string(name[:1+n]):
			return false
		default:
			at, name = at+1+n, name[1+n:]
		}
	}
}
