package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/promethos/promethos/packet"
)

// wireTrigger is what a vulnerability reacts to that no router carries: frames on
// the device's own link, and their twin without the fault.
type wireTrigger struct {
	name string
	to   packet.MAC // zero: all
	// asks says that the device has asked for an address before.
	asks bool
	// frame and twin are what follows the frame's addresses, for the station with a
	// number.
	frame, twin func(station byte) []byte
	// fault finds the fault in what arrived; nil: whatever arrives has it.
	fault []byte
}

// Addresses of stations that only send: on the clients' side, and the device.
var (
	stationMAC = packet.MAC{2, 0x77, 0, 0, 9, 0}
	deviceMAC  = packet.MAC{2, 0x77, 0, 0, 8, 0}
)

// station gives the addresses of the one with a number.
func station(n byte) (packet.MAC, netip.Addr) {
	mac, addr := stationMAC, inlineStations.As4()
	mac[5], addr[3] = n, addr[3]+n
	return mac, netip.AddrFrom4(addr)
}

// inlineStations and inlineStations6 are before the first of their addresses.
var (
	inlineStations  = netip.MustParseAddr("10.77.0.100")
	inlineStations6 = netip.MustParseAddr("fd77::100")
)

// Offsets and codes of DHCP (RFC 2131 §2, RFC 2132).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpYour     = 16
	dhcpServer   = 44
	dhcpFixed    = 240
)

// dhcpMessage is a message of the device with the number of a station, or for it.
func dhcpMessage(n, typ byte, edit func(b []byte), options ...byte) []byte {
	b := make([]byte, dhcpFixed)
	b[0], b[1], b[2] = 1, 1, 6
	binary.BigEndian.PutUint32(b[4:], 0x50500000|uint32(n))
	mac := deviceMAC
	mac[5] = n
	copy(b[28:], mac[:])
	copy(b[236:], "\x63\x82\x53\x63")
	b = append(b, 53, 1, typ)
	if typ == dhcpOffer {
		_, server := station(n)
		b[0] = 2
		copy(b[dhcpYour:], inlineStations.AsSlice())
		b = append(append(b, 54, 4), server.AsSlice()...)
	}
	if edit != nil {
		edit(b)
	}
	b = append(append(b, options...), 255)
	return append(b, make([]byte, max(0, 300-len(b)))...)
}

// dhcpFrame is what follows a frame's addresses.
func dhcpFrame(src netip.Addr, from, to uint16, message []byte) []byte {
	all := netip.MustParseAddr("255.255.255.255")
	d := hostileUDP{srcPort: from, dstPort: to, payload: message}
	return append([]byte{8, 0}, hostileIP{src: src, dst: all, proto: protoUDP, payload: d.bytes(src, all)}.bytes()...)
}

// offerWith makes a server's offer.
func offerWith(edit func(b []byte), options ...byte) func(byte) []byte {
	return func(n byte) []byte {
		_, server := station(n)
		return dhcpFrame(server, 67, 68, dhcpMessage(n, dhcpOffer, edit, options...))
	}
}

// wireTriggers lists them.
func wireTriggers() []wireTrigger {
	return slices.Concat(linkTriggers(), wireIPTriggers(), offerTriggers())
}

// wireEnv says where the packets of a station to the server go.
func wireEnv(n byte, v6 bool) triggerEnv {
	_, addr := station(n)
	e := triggerEnv{src: addr, dst: inlineServer[0].Addr(), from: triggerPort, to: SelftestPort, seq: attackSeq}
	if v6 {
		last := inlineStations6.As16()
		last[15] += n
		e.src, e.dst = netip.AddrFrom16(last), inlineServer[1].Addr()
	}
	return e
}

// wireIPTriggers are packets with lengths that no router forwards, and to a group of
// the link.
func wireIPTriggers() []wireTrigger {
	server := packet.MAC(macServer)
	syn := func(v6 bool, edit func(b []byte) []byte) func(byte) []byte {
		return func(n byte) []byte {
			e, head := wireEnv(n, v6), []byte{8, 0}
			if v6 {
				head = []byte{0x86, 0xdd}
			}
			b := e.tcp(hostileTCP{flags: flagSYN, options: validMSS})
			if edit != nil {
				b = edit(b)
			}
			return append(head, b...)
		}
	}
	all := netip.MustParseAddr("ff02::1")
	toAll := func(options ...byte) func(byte) []byte {
		return func(n byte) []byte {
			e := wireEnv(n, true)
			e.dst = all
			p := e.ip(protoUDP, e.datagram(hostileUDP{payload: []byte(triggerData)}))
			p.first, p.options = protoDstOpts, options
			return append([]byte{0x86, 0xdd}, p.bytes()...)
		}
	}
	return []wireTrigger{
		// The total length is below the header's.
		{name: "total-length-underflow", to: server, twin: syn(false, nil), frame: syn(false, func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[2:], 16)
			binary.BigEndian.PutUint16(b[10:], 0)
			binary.BigEndian.PutUint16(b[10:], packet.SumBytes(b[:ipv4Len]).Checksum())
			return b
		})},
		{name: "payload-length6", to: server, twin: syn(true, nil), frame: syn(true, func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[4:], 1200)
			return b
		})},
		{name: "runt6", to: server, twin: syn(true, nil), frame: syn(true, func(b []byte) []byte { return b[:24] })},
		{name: "multicast6", to: packet.MAC{0x33, 0x33, 0, 0, 0, 1}, twin: toAll(), frame: toAll(protoUDP, 0, 1, 200, 0, 0, 0, 0)},
	}
}

// linkTriggers are frames that carry no IP packet.
func linkTriggers() []wireTrigger {
	const arpRequest, reverseReply = 1, 4
	arp := func(n byte, ethertype uint16, op byte) []byte {
		mac, addr := station(n)
		b := append(binary.BigEndian.AppendUint16(nil, ethertype), 0, 1, 8, 0, 6, 4, 0, op)
		return slices.Concat(b, mac[:], addr.AsSlice(), make([]byte, 6), inlineServer[0].Addr().AsSlice())
	}
	request := func(n byte) []byte { return arp(n, 0x0806, arpRequest) }
	return []wireTrigger{
		// The length of an IEEE 802.3 frame goes beyond it.
		{name: "frame-length", twin: request, frame: func(byte) []byte { return []byte{5, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0} }},
		{name: "arp-runt", twin: request, frame: func(n byte) []byte { return request(n)[:20] }},
		{name: "rarp", twin: request, frame: func(n byte) []byte { return arp(n, 0x8035, reverseReply) }},
	}
}

// offerTriggers are what DHCP servers offer to a device that has asked.
func offerTriggers() []wireTrigger {
	good := offerWith(nil, 51, 4, 0, 0, 14, 16)
	offer := func(name string, fault []byte, edit func(b []byte), options ...byte) wireTrigger {
		return wireTrigger{name: name, asks: true, twin: good, fault: fault, frame: offerWith(edit, options...)}
	}
	group, long := []byte{224, 0, 0, 9}, bytes.Repeat([]byte{'n'}, 64)
	loop := []byte{119, 4, 1, 'a', 0xc0, 0}
	return []wireTrigger{
		offer("dhcp-option-end", []byte{15, 200, 'x'}, nil, append(make([]byte, 40), 15, 200, 'x')...),
		offer("dhcp-server-length", []byte{6, 5, 192, 0, 2, 1, 7}, nil, 6, 5, 192, 0, 2, 1, 7),
		offer("dhcp-vendor-length", []byte{43, 4, 1, 200, 7, 7}, nil, 43, 4, 1, 200, 7, 7),
		offer("dhcp-search-loop", loop, nil, loop...),
		offer("dhcp-name-end", long, func(b []byte) { copy(b[dhcpServer:], long) }),
		offer("dhcp-group", group, func(b []byte) { copy(b[dhcpYour:], group) }),
		offer("dhcp-no-address", slices.Concat(make([]byte, 12), deviceMAC[:5]), func(b []byte) { clear(b[dhcpYour : dhcpYour+4]) }, 51, 4, 0, 0, 14, 16),
	}
}

// wireRounds is how often the twin is sent: where workers share a port, one that comes
// behind the last has the trigger behind it.
const wireRounds = 3

// runWireScene plays the triggers of a wire through a bridge, or through the proxy in
// its place.
func runWireScene(ctx context.Context, s scene, options *SelftestOptions) (results map[string]outcome, err error) {
	l, err := Up(ctx, Options{Anonymous: true, NoOffloads: true, Inline: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if s != sceneProxy {
		if err := errors.Join(l.Proxy.Bridge(ClientInterface, ServerInterface), bridgeOnly(l.Proxy)); err != nil {
			return nil, err
		}
		results, _, err = playWire(ctx, l)
		return results, err
	}
	p, err := options.startProxy(ctx, l, options.Wire)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	results, arrived, err := playWire(ctx, l)
	if err != nil || options.Prove == nil {
		return results, err
	}
	return results, options.Prove(ctx, p, arrived)
}

// bridgeOnly keeps netfilter away from a bridge: it drops what has a wrong IP header
// even without a rule (net/bridge/br_netfilter_hooks.c, br_validate_ipv4).
func bridgeOnly(h *Host) (err error) {
	for _, table := range []string{"iptables", "ip6tables"} {
		if e := h.Sysctl("net/bridge/bridge-nf-call-"+table, "0"); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// playWire plays them on a lab, and gives what the server's side saw meanwhile.
func playWire(ctx context.Context, l *Lab) (results map[string]outcome, arrived []Frame, err error) {
	var senders [2]*RawSender
	var captures [2]*Capture
	for i, h := range []*Host{l.Client, l.Server} {
		if senders[i], err = h.RawSender(EndInterface); err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, senders[i].Close()) }()
		if captures[i], err = h.Capture(CaptureOptions{}); err != nil {
			return nil, nil, err
		}
		defer func() {
			_, stopped := captures[i].Stop()
			err = errors.Join(err, stopped)
		}()
	}
	results = map[string]outcome{}
	for i, t := range wireTriggers() {
		first := byte(2 * i)
		if t.asks {
			for n := first; n < first+2; n++ {
				mac := deviceMAC
				mac[5] = n
				ask := slices.Concat(packet.BroadcastMAC[:], mac[:], dhcpFrame(netip.IPv4Unspecified(), 68, 67, dhcpMessage(n, dhcpDiscover, nil)))
				if err := sendFrame(ctx, senders[1], captures[0], ask, mac); err != nil {
					return nil, nil, fmt.Errorf("%s: the device's question: %w", t.name, err)
				}
			}
		}
		bad, _ := station(first)
		if err := senders[0].Send(t.between(bad, t.frame(first))); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.name, err)
		}
		twin, _ := station(first + 1)
		for range wireRounds {
			if err := sendFrame(ctx, senders[0], captures[1], t.between(twin, t.twin(first+1)), twin); err != nil {
				return nil, nil, fmt.Errorf("%s: its twin: %w", t.name, err)
			}
		}
		o := outcome{twin: true}
		for _, f := range captures[1].Frames() {
			switch {
			case !cameFrom(f, bad):
			case bytes.Contains(f.Data, t.fault):
				o.trigger = Arrived
			case o.trigger == Stopped:
				o.trigger = Rebuilt
			}
		}
		results[t.name] = o
	}
	return results, captures[1].Frames(), nil
}

// between puts a frame's addresses before what follows them.
func (t *wireTrigger) between(from packet.MAC, rest []byte) []byte {
	to := t.to
	if to == (packet.MAC{}) {
		to = packet.BroadcastMAC
	}
	return slices.Concat(to[:], from[:], rest)
}

// cameFrom reports a frame that was received from a station.
func cameFrom(f Frame, mac packet.MAC) bool {
	return !f.Outgoing && len(f.Data) >= macsLen && packet.MAC(f.Data[6:macsLen]) == mac
}

// sendFrame sends a frame and waits until one more of its station has arrived.
func sendFrame(ctx context.Context, s *RawSender, at *Capture, frame []byte, mac packet.MAC) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	from := func() (n int) {
		for _, f := range at.Frames() {
			if cameFrom(f, mac) {
				n++
			}
		}
		return n
	}
	before, n := from(), 0
	if err := s.Send(frame); err != nil {
		return err
	}
	_, err := at.Wait(ctx, func(f Frame) bool {
		if cameFrom(f, mac) {
			n++
		}
		return n > before
	})
	return err
}
