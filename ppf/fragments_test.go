package ppf_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// cutter sends fragments through an engine and collects what is sent on.
type cutter struct {
	*ppftest.Bench
	sent [][]byte
	mtu  int
	n    uint32
}

func newCutter(t testing.TB, mtu int, plugins map[string]string, instances ...ppf.InstanceSpec) *cutter {
	t.Helper()
	if len(instances) == 0 {
		instances = []ppf.InstanceSpec{fragmented(ppf.Repair)}
	}
	c := &cutter{Bench: ppftest.NewConfigured(t, plugins, instances...), mtu: mtu}
	c.Engine.Follow(func(f *ppf.Fate) {
		switch {
		case f.Again || f.Frame.Action == ppf.Drop:
		case f.Frame.Done:
			for _, p := range f.Pieces {
				c.sent = append(c.sent, slices.Clone(p))
			}
		case f.Frame.Head == nil:
			c.sent = append(c.sent, slices.Clone(f.Frame.Data))
		default:
			c.sent = append(c.sent, slices.Concat(f.Frame.Head, f.Frame.Body))
		}
	})
	return c
}

// fragmented is an instance for all that comes for the test's ends.
func fragmented(m ppf.Mode) ppf.InstanceSpec {
	in := ppftest.Instance("a", "ip", "icmp", "udp", "tcp")
	in.Match.Protocol, in.Mode = 0, m
	return in
}

// in gives packets to the engine, one batch each, and what is sent on for them.
func (c *cutter) in(list ...[]byte) [][]byte {
	c.sent = nil
	for _, data := range list {
		c.n++
		f := c.Frame(ppf.Forward, data)
		f.MTU, f.ID = c.mtu, c.n
		c.Engine.Handlers()[0].Handle([]ppf.Frame{f})
	}
	return c.sent
}

// fragmentFamily is what differs between the two.
type fragmentFamily struct {
	name           string
	client, server netip.AddrPort
}

var fragmentFamilies = []fragmentFamily{{"IPv4", ppftest.Client4, ppftest.Server4}, {"IPv6", ppftest.Client6, ppftest.Server6}}

// payload is n bytes that tell where they belong.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}

// datagram is a whole datagram of somebody else's encoder, as if it had not been
// too long.
func (f fragmentFamily) datagram(t testing.TB, n int) []byte {
	t.Helper()
	src, dst := f.client.Addr(), f.server.Addr()
	var ip gopacket.SerializableLayer = &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 9, Id: 77, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(f.client.Port()), DstPort: layers.UDPPort(f.server.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload(n))); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// fragment is one of a packet's fragments as a test writes it.
type fragment struct {
	begin, end int
	last       bool
	edit       func(ip []byte) // of the header, before its checksum
	change     byte            // of every byte of the data
}

// of makes the fragment of a whole packet without options and extension headers.
func (f fragment) of(whole []byte, id uint32) []byte {
	v6 := whole[0]>>4 == 6
	n := packet.IPv4MinLen
	if v6 {
		n = packet.IPv6Len
	}
	b := slices.Clone(whole[:n])
	flags := uint16(f.begin)
	if v6 {
		if !f.last {
			flags |= 1
		}
		b = append(b, b[6], 0, byte(flags>>8), byte(flags))
		b = binary.BigEndian.AppendUint32(b, id)
		b[6] = byte(packet.ProtoFragment)
		binary.BigEndian.PutUint16(b[4:], uint16(8+f.end-f.begin))
	} else {
		flags /= 8
		if !f.last {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(b[2:], uint16(n+f.end-f.begin))
		binary.BigEndian.PutUint16(b[4:], uint16(id))
		binary.BigEndian.PutUint16(b[6:], flags)
	}
	if f.edit != nil {
		f.edit(b)
	}
	if !v6 {
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], packet.SumBytes(b).Checksum())
	}
	data := make([]byte, f.end-f.begin)
	copy(data, whole[min(n+f.begin, len(whole)):])
	for i := range data {
		data[i] ^= f.change
	}
	return append(b, data...)
}

// cut makes fragments with size bytes each.
func cut(whole []byte, size int, id uint32) (list [][]byte) {
	n := packet.IPv4MinLen
	if whole[0]>>4 == 6 {
		n = packet.IPv6Len
	}
	for at := 0; at < len(whole)-n; at += size {
		end := min(at+size, len(whole)-n)
		list = append(list, fragment{begin: at, end: end, last: end == len(whole)-n}.of(whole, id))
	}
	return list
}

// join puts fragments together as somebody else understands them, and gives the
// datagram's payload.
func join(t *testing.T, list [][]byte, mtu int) []byte {
	t.Helper()
	defrag := ip4defrag.NewIPv4Defragmenter()
	var whole6 []byte
	for i, b := range list {
		if len(b) > mtu {
			t.Errorf("fragment %d has %d bytes, the way out takes %d", i, len(b), mtu)
		}
		if b[0]>>4 == 4 {
			ip := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			whole, err := defrag.DefragIPv4(ip)
			if err != nil {
				t.Fatalf("fragment %d: %v: %x", i, err, b)
			}
			if whole != nil {
				return whole.Payload[packet.UDPLen:]
			}
			continue
		}
		p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
		f, ok := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
		if !ok {
			return p.NetworkLayer().LayerPayload()[packet.UDPLen:]
		}
		if int(f.FragmentOffset)*8 != len(whole6) || f.NextHeader != layers.IPProtocolUDP {
			t.Fatalf("fragment %d: %+v, want offset %d", i, f, len(whole6))
		}
		whole6 = append(whole6, f.LayerPayload()...)
		if !f.MoreFragments {
			return whole6[packet.UDPLen:]
		}
	}
	t.Fatalf("of %d fragments nobody makes a packet", len(list))
	return nil
}
