package inline

import (
	"bytes"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// header builds a virtio-net header.
func header(flags, gso byte, length, size, start, field uint16) (h vnetHeader) {
	h[offVnetFlags], h[offVnetGSOType] = flags, gso
	for off, v := range map[int]uint16{offVnetHeaderLen: length, offVnetGSOSize: size, offVnetCsumStart: start, offVnetCsumField: field} {
		native.PutUint16(h[off:], v)
	}
	return h
}

const gsoTCP4 = 1 // VIRTIO_NET_HDR_GSO_TCPV4

func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		h    vnetHeader
		want ppf.Frame
	}{
		{header(0, 0, 0, 0, 0, 0), ppf.Frame{}},
		{header(vnetDataValid, 0, 0, 0, 0, 0), ppf.Frame{CsumNotReady: true, PartialCsum: true}},
		{header(vnetNeedsCsum, 0, 0, 0, 34, 16), ppf.Frame{CsumNotReady: true, PartialCsum: true}},
		{header(vnetNeedsCsum, gsoTCP4, 54, 1448, 34, 16), ppf.Frame{CsumNotReady: true, PartialCsum: true, GSO: true}},
	} {
		var f ppf.Frame
		tt.h.describe(&f)
		if f.CsumNotReady != tt.want.CsumNotReady || f.PartialCsum != tt.want.PartialCsum || f.GSO != tt.want.GSO {
			t.Errorf("%x: not ready %v, partial %v, GSO %v", tt.h, f.CsumNotReady, f.PartialCsum, f.GSO)
		}
	}
}

func TestForSending(t *testing.T) {
	head, long, short := make([]byte, 66), make([]byte, 5000), make([]byte, 100)
	gso := header(vnetNeedsCsum, gsoTCP4, 54, 1448, 34, 16)
	for _, tt := range []struct {
		name string
		h    vnetHeader
		f    ppf.Frame
		want vnetHeader
	}{
		{"super-packet", gso, ppf.Frame{Head: head, Body: long, CsumStart: 34, CsumField: 16}, header(vnetNeedsCsum, gsoTCP4, 66, 1448, 34, 16)},
		{"one segment is left", gso, ppf.Frame{Head: head, Body: short, CsumStart: 34, CsumField: 16}, header(vnetNeedsCsum, 0, 0, 0, 34, 16)},
		{"complete checksum", header(vnetNeedsCsum, 0, 0, 0, 34, 16), ppf.Frame{Head: head}, vnetHeader{}},
		{"unchanged", gso, ppf.Frame{}, gso},
		{"unchanged and verified", header(vnetDataValid, 0, 0, 0, 0, 0), ppf.Frame{}, vnetHeader{}},
	} {
		h := tt.h
		if h.forSending(&tt.f); h != tt.want {
			t.Errorf("%s: got %x, want %x", tt.name, h, tt.want)
		}
	}
}

func TestTag(t *testing.T) {
	data := append(make([]byte, packet.VLANLen), "dst012src345\x08\x00rest"...)
	putTag(data, vlanTag{0x81, 0, 0x60, 7})
	if want := "dst012src345\x81\x00\x60\x07\x08\x00rest"; string(data) != want {
		t.Errorf("got %q, want %q", data, want)
	}
	h := header(vnetNeedsCsum, gsoTCP4, 54, 1448, 34, 16)
	if h.shift(packet.VLANLen); h != header(vnetNeedsCsum, gsoTCP4, 58, 1448, 38, 16) {
		t.Errorf("shifted: %x", h)
	}
	var none vnetHeader
	if none.shift(packet.VLANLen); !bytes.Equal(none[:], make([]byte, vnetLen)) {
		t.Errorf("nothing shifted: %x", none)
	}
}
