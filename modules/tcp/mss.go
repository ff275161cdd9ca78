package tcp

import (
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What a SYN without the option says in IPv4 and in IPv6 (RFC 9293 §3.7.1).
const (
	defaultMSS4 = 536
	defaultMSS6 = 1220
)

// lowerMSS lowers what a SYN announces, or says by leaving it out, to the
// configured maximum and to what fits the path. It never raises it.
func (t *Tracker) lowerMSS(x *ppf.Exchange, o *packet.TCPOptions) {
	limit := uint16(0xffff)
	if t.mssMax != 0 {
		limit = t.mssMax
	}
	if t.mssClamp {
		limit = min(limit, t.pathMSS(x, x.In.Dst()), t.pathMSS(x, x.In.Src()))
	}
	if limit == 0xffff {
		return
	}
	if o.Has&packet.OptMSS == 0 {
		o.MSS = defaultMSS4
		if x.In.Has(packet.HasIPv6) {
			o.MSS = defaultMSS6
		}
	}
	if o.MSS > limit {
		o.Has, o.MSS = o.Has|packet.OptMSS, limit
	}
}

// pathMSS is the most data that a segment without options to dst may have, by
// what this host knows of the way; without a limit where it knows nothing.
func (t *Tracker) pathMSS(x *ppf.Exchange, dst netip.Addr) uint16 {
	route, err := x.Route(dst)
	if err != nil || route.MTU == 0 {
		return 0xffff
	}
	headers := packet.IPv4MinLen + packet.TCPMinLen
	if x.In.Has(packet.HasIPv6) {
		headers = packet.IPv6Len + packet.TCPMinLen
	}
	return uint16(min(max(route.MTU-headers, int(t.mssMin)), 0xffff))
}
