package dhcp

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
)

// offered is an offer with an option of each kind.
func offered() []byte {
	b := make([]byte, offOptions)
	b[offOp], b[offHType], b[offHLen] = byte(reply), ethernet, 6
	copy(b[offYour:], []byte{192, 0, 2, 50})
	copy(b[offFile:], "boot")
	copy(b[offCookie:], "\x63\x82\x53\x63")
	return append(b, "\x35\x01\x02\x36\x04\xc0\x00\x02\x01\x01\x04\xff\xff\xff\x00\x0f\x03lab\x13\x01\x01\x34\x01\x02"+
		"\x77\x0b\x01a\x03lab\x00\x01b\xc0\x02\x79\x08\x18\xc0\x00\x02\x0a\x00\x00\x01\x52\x02\x01\x00\xff"...)
}

// FuzzMessage: whatever comes, what is sent is read by another decoder, and coming
// again it is sent as it is.
func FuzzMessage(f *testing.F) {
	f.Add(offered(), false)
	f.Add(offered(), true)
	f.Add(bytes.Replace(offered(), []byte{53, 1, 2}, []byte{53, 1, 5}, 1), false)
	g := newGuard(DefaultConfig())
	rewrite := func(b []byte, relayed bool) []byte {
		m := message{relayed: relayed}
		if m.parse(b) != packet.ReasonNone || m.addresses() != packet.ReasonNone {
			return nil
		}
		var out [maxMessage]byte
		n, _, _, r := g.write(&m, out[:])
		if r != packet.ReasonNone {
			return nil
		}
		return out[:n]
	}
	f.Fuzz(func(t *testing.T, b []byte, relayed bool) {
		once := rewrite(b, relayed)
		if once == nil {
			return
		}
		var d layers.DHCPv4
		if err := d.DecodeFromBytes(once, gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("gopacket: %v: %x", err, once)
		}
		if twice := rewrite(once, relayed); !bytes.Equal(once, twice) {
			t.Errorf("%x\nbecomes %x", once, twice)
		}
	})
}
