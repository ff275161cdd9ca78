package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

// longestHeaders are extension headers of MaxIPv6Headers bytes.
func longestHeaders() *IPv6Headers {
	h := new(IPv6Headers)
	for range MaxSegments {
		h.Segments.Add(server6)
	}
	h.HopByHop.Add(IPv6Option{Type: IPv6OptRouterAlert})
	h.Destination.Add(IPv6Option{Type: 0x1e, Place: 2, Data: testPayload(MaxIPv6Headers - h.Len() - 4)})
	return h
}

// TestIPv6Headers: what stands in a packet is sent in one way, wherever it stood and
// however it was padded.
func TestIPv6Headers(t *testing.T) {
	const upper = "1000 0035 0008 0000"
	tests := []struct {
		name           string
		first          string
		received, sent string // extension headers
		then           string
	}{
		{"router alert", "00", "11 00 05 02 0002 00 00", "11 00 05 02 0002 01 00", "00"},
		{"only padding", "3c", "11 01 00 01 02 0000 00 01 06 000000000000", "", "11"},
		{"padding that says something", "00", "11 00 01 00 05 02 0000", "11 00 05 02 0000 01 00", "00"},
		{"tunnel limit", "3c", "11 01 01 03 123456 04 01 07 00 00 00 00 00 00", "11 00 04 01 07 01 01 00", "3c"},
		{"an option keeps its place modulo 8", "3c", "11 02 01 0c 000000000000000000000000 3e 04 01020304 00 00", "11 01 01 04 00000000 3e 04 01020304 01 00", "3c"},
		{"options on the way and at its end", "3c", "2b 00 04 01 01 000000 3c 02 04 00 00 00 0007 20010db8000100000000000000000002 11 00 04 01 02 000000",
			"2b 00 04 01 01 010100 3c 02 04 00 00 00 0007 20010db8000100000000000000000002 11 00 04 01 02 010100", "3c"},
		{"flags and TLVs of segments", "2b", "11 03 04 00 00 ff 0007 20010db8000100000000000000000002 0506 000000000000",
			"11 02 04 00 00 00 0007 20010db8000100000000000000000002", "2b"},
		{"a type of routing that is not known", "2b", "11 00 63 00 00000000", "", "11"},
		{"an atomic fragment", "2c", "11 00 0000 00000001", "", "11"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := func(first, ext string) []byte {
				body := unhex(t, ext+upper)
				b := unhex(t, "60000000 0000"+first+"40"+ip6Addrs)
				b[offIP6PayloadLen+1] = uint8(len(body))
				return append(b, body...)
			}
			p := parse(t, LinkRawIP, head(tt.first, tt.received))
			var o Out
			if !rebuild(p, &o) {
				t.Fatal("cannot be built anew")
			}
			got, want := emit(t, &o), head(tt.then, tt.sent)
			copy(want[len(want)-2:], got[len(got)-2:]) // the checksum is judged elsewhere
			if !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
			checkRebuild(t, LinkRawIP, head(tt.first, tt.received))
		})
	}
}

func TestSegments(t *testing.T) {
	dst := server6.As16()
	for name, tt := range map[string]struct {
		header string
		known  bool
		want   Reason
	}{
		"one":                     {"11 02 04 00 00 00 0007 20010db8000100000000000000000002", true, ReasonNone},
		"another destination":     {"11 02 04 00 00 00 0007 20010db8000100000000000000000003", true, ReasonIP6Segments},
		"more than there is room": {"11 02 04 00 01 00 0007 20010db8000100000000000000000002", true, ReasonIP6Segments},
		"no segment":              {"11 00 04 00 00 00 0007", true, ReasonIP6Segments},
		"last entry 255":          {"11 02 04 00 ff 00 0007 20010db8000100000000000000000002", true, ReasonIP6Segments},
		"of mobile IPv6":          {"11 02 02 00 00 00 0000 20010db8000100000000000000000002", false, ReasonNone},
	} {
		var s IPv6Segments
		if known, r := s.Parse(unhex(t, tt.header), dst); known != tt.known || r != tt.want {
			t.Errorf("%s: got %v %v, want %v %v", name, known, r, tt.known, tt.want)
		} else if known && r == ReasonNone && (s.Len() != 1 || s.At(0) != server6 || s.Tag != 7) {
			t.Errorf("%s: got %d, tag %d", name, s.Len(), s.Tag)
		}
	}
}

// TestHeadersThatCannotBeSent lists what the encoder refuses.
func TestHeadersThatCannotBeSent(t *testing.T) {
	alert := IPv6Option{Type: IPv6OptRouterAlert}
	tests := []struct {
		name string
		set  func(*IPv6)
		want error
	}{
		{"router alert for the destination", func(h *IPv6) { h.Headers.Destination.Add(alert) }, ErrValue},
		{"tunnel limit hop by hop", func(h *IPv6) { h.Headers.HopByHop.Add(IPv6Option{Type: IPv6OptTunnelLimit}) }, ErrValue},
		{"tunnel limit 256", func(h *IPv6) { h.Headers.Destination.Add(IPv6Option{Type: IPv6OptTunnelLimit, Value: 256}) }, ErrValue},
		{"padding", func(h *IPv6) { h.Headers.Destination.Add(IPv6Option{Type: ip6OptPadN}) }, ErrValue},
		{"jumbo payload", func(h *IPv6) { h.Headers.HopByHop.Add(IPv6Option{Type: IPv6OptJumbo, Place: 2, Data: testPayload(4)}) }, ErrValue},
		{"home address", func(h *IPv6) {
			h.Headers.Destination.Add(IPv6Option{Type: IPv6OptHomeAddress, Place: 6, Data: testPayload(16)})
		}, ErrValue},
		{"data of a typed one", func(h *IPv6) { h.Headers.HopByHop.Add(IPv6Option{Type: IPv6OptRouterAlert, Data: testPayload(2)}) }, ErrValue},
		{"place 8", func(h *IPv6) { h.Headers.HopByHop.Add(IPv6Option{Type: 0x1e, Place: 8}) }, ErrValue},
		{"256 bytes", func(h *IPv6) { h.Headers.HopByHop.Add(IPv6Option{Type: 0x1e, Data: testPayload(256)}) }, ErrTooLong},
		{"too long together", func(h *IPv6) {
			h.Headers.HopByHop.Add(IPv6Option{Type: 0x1e, Data: testPayload(100)})
			h.Headers.Destination.Add(IPv6Option{Type: 0x1e, Data: testPayload(112)})
		}, ErrTooLong},
		{"en route without a route", func(h *IPv6) { h.Headers.EnRoute.Add(IPv6Option{Type: IPv6OptTunnelLimit}) }, ErrLayers},
		{"destination options of a fragment", func(h *IPv6) {
			h.HasFragment, h.Fragment = true, IPv6Fragment{Offset: 8}
			h.Headers.Destination.Add(IPv6Option{Type: IPv6OptTunnelLimit})
		}, ErrLayers},
		{"cut, but no fragment", func(h *IPv6) { h.CutOptions = true }, ErrValue},
	}
	for _, tt := range tests {
		var o Out
		h := IPv6{HopLimit: 64, NextHeader: ProtoGRE, Headers: o.NewHeaders(), Src: client6, Dst: server6}
		tt.set(&h)
		o.SetIPv6(h)
		if _, err := tryEmit(t, &o); err != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	var options IPv6Options
	for range MaxIPv6Options {
		options.Add(alert)
	}
	var segments IPv6Segments
	for range MaxSegments {
		segments.Add(server6)
	}
	if options.Add(alert) || segments.Add(server6) {
		t.Error("there is room for more than the most")
	}
}

// TestCutOptions: a fragment tells that destination options begin its packet.
func TestCutOptions(t *testing.T) {
	var o Out
	o.SetIPv6(IPv6{
		HopLimit: 64, NextHeader: ProtoUDP, HasFragment: true, CutOptions: true, Fragment: IPv6Fragment{More: true, ID: 1}, Headers: ListenerAlert,
		Src: client6, Dst: server6,
	})
	o.SetPayload(unhex(t, "11 00 04 01 02 010100 1000 0035 0010 beef"))
	p := parse(t, LinkRawIP, emit(t, &o))
	if p.Ext().Len() != 3 || p.Ext().At(2).Protocol != ProtoDstOpts || p.Proto() != ProtoUDP {
		t.Errorf("got %d headers, %v", p.Ext().Len(), p.Proto())
	}
}

func TestIPv6HeadersString(t *testing.T) {
	h := IPv6Headers{}
	h.HopByHop.Add(IPv6Option{Type: IPv6OptRouterAlert})
	h.EnRoute.Add(IPv6Option{Type: 0x1e, Data: []byte{1, 2}})
	h.Segments.Add(netip.MustParseAddr("2001:db8::1"))
	h.Destination.Add(IPv6Option{Type: IPv6OptTunnelLimit, Value: 4})
	want := "hop-by-hop(router-alert=0) en-route(0x1e=0102) segments(2001:db8::1) destination(tunnel-limit=4)"
	if got := h.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIPv6HeadersDoNotAllocate(t *testing.T) {
	var p Packet
	var o Out
	buf := make([]byte, MaxHeaders)
	data := unhex(t, "60000000 0020 00 40"+ip6Addrs+"3c 00 05 02 0000 01 00 11 01 1e 06 010203040506 04 01 01 000000"+"1000 0035 0008 0000")
	wantNoAllocs(t, "extension headers", func() {
		if r := p.Parse(LinkRawIP, data); r != ReasonNone {
			t.Fatal(r)
		}
		o.Reset()
		if !rebuild(&p, &o) {
			t.Fatal("not built")
		}
		if _, err := o.Encode(buf); err != nil {
			t.Fatal(err)
		}
	})
}
