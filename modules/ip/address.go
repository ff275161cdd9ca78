package ip

import (
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// kind is what an address is good for.
type kind uint8

const (
	unicast     kind = iota
	unspecified      // 0.0.0.0 and ::
	loopback
	linkLocal
	group    // multicast and the limited broadcast
	reserved // on no network, in no packet
)

// kindOf4 tells an IPv4 address by the registry of RFC 6890 §2.2.2.
func kindOf4(a [4]byte) kind {
	switch {
	case a == [4]byte{}:
		return unspecified
	case a[0] == 0:
		return reserved
	case a[0] == 127:
		return loopback
	case a[0] == 169 && a[1] == 254:
		return linkLocal
	case a[0]&0xf0 == 0xe0, a == [4]byte{255, 255, 255, 255}:
		return group
	case a[0] >= 240:
		return reserved
	}
	return unicast
}

// kindOf6 tells an IPv6 address by RFC 4291 §2.4 and the registry of RFC 6890
// §2.2.3. Addresses that hold an IPv4 one in their last bytes are no addresses of
// packets (RFC 4291 §2.5.5).
func kindOf6(a [16]byte) kind {
	switch {
	case a[0] == 0xff:
		// RFC 4291 §2.7: scope 0 is reserved, scope 1 is a single interface.
		if a[1]&0x0f <= 1 {
			return reserved
		}
		return group
	case a[0] == 0xfe && a[1]&0xc0 == 0x80:
		return linkLocal
	case binary.BigEndian.Uint64(a[:]) != 0:
		return unicast
	}
	switch low := binary.BigEndian.Uint64(a[8:]); {
	case low == 0:
		return unspecified
	case low == 1:
		return loopback
	case low>>32 == 0, low>>32 == 0xffff:
		return reserved
	}
	return unicast
}

// addresses judges source and destination.
func (f *filter) addresses(x *ppf.Exchange) (v ppf.Verdict, stop bool) {
	var src, dst kind
	var same bool
	if x.In.Has(packet.HasIPv4) {
		in := x.In.IPv4()
		src, dst, same = kindOf4(in.Src4()), kindOf4(in.Dst4()), in.Src4() == in.Dst4()
	} else {
		in := x.In.IPv6()
		src, dst, same = kindOf6(in.Src16()), kindOf6(in.Dst16()), in.Src16() == in.Dst16()
	}
	if src == unicast && dst == unicast && !same && len(f.martians) == 0 {
		return v, false
	}
	switch {
	case src == loopback && dst == loopback && inside(x), same && inside(x):
		return v, false // a host that talks to itself
	case src == unspecified && dst == group:
		// DHCP, duplicate address detection, and listeners' reports come from
		// hosts that have no address yet.
	case src != unicast && src != linkLocal, f.listed(x):
		return x.Refuse(ReasonMartianSource, number(x.In.Src())), true
	case dst == unspecified, dst == loopback, dst == reserved:
		return x.Refuse(ReasonMartianDestination, number(x.In.Dst())), true
	case same:
		return x.Refuse(ReasonLand, number(x.In.Src())), true
	}
	if x.Hook == ppf.Forward && (src == linkLocal || dst == linkLocal) {
		return x.Refuse(ReasonLinkLocal, number(x.In.Src())), true
	}
	if dst == group && (f.multicast == refuse || x.In.Proto() == packet.ProtoTCP) {
		return x.Refuse(ReasonMulticast, number(x.In.Dst())), true
	}
	return v, false
}

func (f *filter) listed(x *ppf.Exchange) bool {
	if len(f.martians) == 0 {
		return false
	}
	src := x.In.Src()
	for _, p := range f.martians {
		if p.Contains(src) {
			return true
		}
	}
	return false
}

// inside reports a packet that does not leave the machine.
func inside(x *ppf.Exchange) bool { return x.InDev.Name() == "lo" || x.OutDev.Name() == "lo" }

// number is the value that stands for an address in a record: an IPv4 address, or
// the network half of an IPv6 one.
func number(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:])
}

// UsesData reports whether a data module says who may be a client.
func (f *filter) UsesData(name string) bool { return f.clients.UsesData(name) }

// client judges who the client is, where that is listed. An error is its who sent, or
// gets, what it quotes: routers on the way are nobody's clients.
func (f *filter) client(x *ppf.Exchange) (v ppf.Verdict, stop bool) {
	if f.clients == nil {
		return v, false
	}
	a := x.Client()
	switch {
	case x.Conn != nil || x.Quote == nil:
	case x.Dir == ppf.ClientToServer:
		a = x.Quote.Dst()
	default:
		a = x.Quote.Src()
	}
	may, known := f.clients.Judge(f.host, a)
	switch {
	case may:
		return v, false
	case !known:
		return x.Refuse(ReasonNoData, number(a)), true
	}
	return x.Refuse(ReasonClient, number(a)), true
}
