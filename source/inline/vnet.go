package inline

import (
	"encoding/binary"

	"github.com/promethos/promethos/ppf"
)

// Offsets in struct virtio_net_hdr, in the machine's byte order on packet sockets
// (include/uapi/linux/virtio_net.h).
const (
	offVnetFlags     = 0
	offVnetGSOType   = 1
	offVnetHeaderLen = 2
	offVnetGSOSize   = 4
	offVnetCsumStart = 6
	offVnetCsumField = 8

	vnetLen = 10

	vnetNeedsCsum = 1 // the checksum at CsumField is that of the pseudo header
	vnetDataValid = 2 // the card has verified it

	vnetGSONone = 0
)

var native = binary.NativeEndian

// vnetHeader is what goes with a frame through a packet socket.
type vnetHeader [vnetLen]byte

// describe tells a frame what its header says.
func (h *vnetHeader) describe(f *ppf.Frame) {
	f.GSO = h[offVnetGSOType] != vnetGSONone
	f.CsumNotReady = h[offVnetFlags]&(vnetNeedsCsum|vnetDataValid) != 0
	f.PartialCsum = f.GSO || f.CsumNotReady
}

// shift adapts the header to n bytes that were put into the frame before the
// network layer.
func (h *vnetHeader) shift(n uint16) {
	for _, off := range []int{offVnetHeaderLen, offVnetCsumStart} {
		if v := native.Uint16(h[off:]); v != 0 {
			native.PutUint16(h[off:], v+n)
		}
	}
}

// forSending turns the header that came with a frame into the one that goes with
// what is sent in its place.
func (h *vnetHeader) forSending(f *ppf.Frame) {
	h[offVnetFlags] &= vnetNeedsCsum
	if f.Head == nil {
		return
	}
	size := native.Uint16(h[offVnetGSOSize:])
	// What is no longer than a segment is none to be cut; what has no partial
	// checksum is neither TCP nor UDP, and its kind of segment is not known.
	if h[offVnetGSOType] == vnetGSONone || f.CsumField == 0 || len(f.Body) <= int(size) {
		clear(h[:])
	} else {
		native.PutUint16(h[offVnetHeaderLen:], uint16(len(f.Head)))
	}
	h[offVnetFlags] = 0
	if f.CsumField != 0 {
		h[offVnetFlags] = vnetNeedsCsum
		native.PutUint16(h[offVnetCsumStart:], f.CsumStart)
		native.PutUint16(h[offVnetCsumField:], f.CsumField)
	}
}
