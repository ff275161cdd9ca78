package tcp_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// mss gives the segment an MSS option.
func mss(s ppftest.Segment, n uint16) ppftest.Segment {
	return withOptions(s, 2, 4, uint8(n>>8), uint8(n))
}

// TestMSSFloor wants a client's MSS below the floor refused and no other one
// touched.
func TestMSSFloor(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		mss      uint16
		reason   string
	}{
		{"none of it", nil, 0, "tcp.mss"},
		{"the trigger's", nil, 48, "tcp.mss"},
		{"below", nil, 87, "tcp.mss"},
		{"at the floor", nil, 88, ""},
		{"IPv4's default", nil, 536, ""},
		{"greatest", nil, 65535, ""},
		{"below a higher floor", []string{"mss_min", "536"}, 535, "tcp.mss"},
		{"at a higher floor", []string{"mss_min", "536"}, 536, ""},
		{"no floor", []string{"mss_min", "0"}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance(tt.settings...))
			out := step(t, b, mss(cs(syn), tt.mss), tt.reason)
			if tt.reason != "" {
				if n := b.Engine.Stats().Connections; n != 0 {
					t.Errorf("a refused SYN left %d connections", n)
				}
				return
			}
			wantMSS(t, out, tt.mss)
			b.Accounted()
		})
	}
	t.Run("no option", func(t *testing.T) { step(t, ppftest.New(t, instance()), cs(syn), "") })
	t.Run("server's", func(t *testing.T) {
		b := ppftest.New(t, instance())
		step(t, b, mss(cs(syn), 1460), "")
		wantMSS(t, step(t, b, mss(sc(syn|ack), 48), ""), 48)
	})
	t.Run("client answers the server's SYN", func(t *testing.T) {
		in := instance()
		in.Initiate = ppf.InitiateBoth
		b := ppftest.New(t, in)
		step(t, b, mss(sc(syn), 48), "")
		step(t, b, mss(cs(syn|ack), 48), "tcp.mss")
		step(t, b, mss(cs(syn|ack), 88), "")
	})
	t.Run("monitor", func(t *testing.T) {
		in := instance()
		in.Mode = ppf.Monitor
		b := ppftest.New(t, in)
		data := mss(cs(syn), 48).Bytes(t)
		action, out := b.Send(ppf.Forward, data)
		if action != ppf.Accept || b.Count("tcp.mss", ppf.OutcomeWouldDrop) != 1 {
			t.Errorf("%v, %+v", action, b.Engine.ReasonCounts())
		}
		wantMSS(t, out, 48)
	})
}

// wantMSS wants a sent SYN to announce n.
func wantMSS(t *testing.T, data []byte, n uint16) {
	t.Helper()
	var seg *layers.TCP
	if data[0]>>4 == 6 {
		_, seg = decode6(t, data)
	} else {
		_, seg = decode(t, data)
	}
	for _, o := range seg.Options {
		if o.OptionType == layers.TCPOptionKindMSS {
			if got := binary.BigEndian.Uint16(o.OptionData); got != n {
				t.Errorf("MSS %d, want %d", got, n)
			}
			return
		}
	}
	t.Errorf("no MSS in %v, want %d", kinds(seg), n)
}

// TestMSSCap wants a higher MSS of either side lowered, what a SYN without the
// option says too, and a lower one left alone; nothing of it counts as a repair.
func TestMSSCap(t *testing.T) {
	for _, tt := range []struct {
		name string
		cap  string
		s    ppftest.Segment
		want uint16
	}{
		{"above", "1400", mss(cs(syn), 1460), 1400},
		{"at", "1400", mss(cs(syn), 1400), 1400},
		{"below", "1400", mss(cs(syn), 536), 536},
		{"none, IPv4", "500", cs(syn), 500},
		{"none, IPv6", "1000", cs6(syn), 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := instance("mss_max", tt.cap)
			in.Mode = ppf.Strict
			b := ppftest.New(t, in)
			wantMSS(t, step(t, b, tt.s, ""), tt.want)
		})
	}
	t.Run("server's", func(t *testing.T) {
		b := ppftest.New(t, instance("mss_max", "1400"))
		step(t, b, cs(syn), "")
		wantMSS(t, step(t, b, mss(sc(syn|ack), 8960), ""), 1400)
	})
	t.Run("a low default stays unsaid", func(t *testing.T) {
		b := ppftest.New(t, instance("mss_max", "1400"))
		if _, seg := decode(t, step(t, b, cs(syn), "")); len(seg.Options) > 0 {
			t.Errorf("options %v, want none", kinds(seg))
		}
	})
}

// TestMSSClamp wants what either side announces lowered to what fits the smaller
// MTU on the way, and left alone where the way is not known.
func TestMSSClamp(t *testing.T) {
	for _, tt := range []struct {
		name     string
		mtu      map[netip.Addr]int
		settings []string
		s        ppftest.Segment
		want     uint16
	}{
		{"to the server", map[netip.Addr]int{ppftest.Server4.Addr(): 1400, ppftest.Client4.Addr(): 1500}, nil, mss(cs(syn), 1460), 1360},
		{"to the client", map[netip.Addr]int{ppftest.Server4.Addr(): 1500, ppftest.Client4.Addr(): 1300}, nil, mss(cs(syn), 1460), 1260},
		{"IPv6, what is not said", map[netip.Addr]int{ppftest.Server6.Addr(): 1200}, nil, cs6(syn), 1140},
		{"never raised", map[netip.Addr]int{ppftest.Server4.Addr(): 9000, ppftest.Client4.Addr(): 9000}, nil, mss(cs(syn), 1460), 1460},
		{"with a lower maximum", map[netip.Addr]int{ppftest.Server4.Addr(): 1400}, []string{"mss_max", "1000"}, mss(cs(syn), 1460), 1000},
		{"not below the floor", map[netip.Addr]int{ppftest.Server4.Addr(): 68}, nil, mss(cs(syn), 1460), 88},
		{"beyond all numbers", map[netip.Addr]int{ppftest.Server4.Addr(): 1 << 20}, nil, mss(cs(syn), 65535), 65535},
		{"not known", nil, nil, mss(cs(syn), 1460), 1460},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := instance(append(tt.settings, "mss_clamp", "true")...)
			in.Mode = ppf.Strict
			b := ppftest.New(t, in)
			b.Env.MTU = tt.mtu
			wantMSS(t, step(t, b, tt.s, ""), tt.want)
		})
	}
	t.Run("server's", func(t *testing.T) {
		b := ppftest.New(t, instance("mss_clamp", "true"))
		b.Env.MTU = map[netip.Addr]int{ppftest.Client4.Addr(): 1400}
		step(t, b, cs(syn), "")
		wantMSS(t, step(t, b, mss(sc(syn|ack), 8960), ""), 1360)
	})
	t.Run("no route", func(t *testing.T) {
		b := ppftest.New(t, instance("mss_clamp", "true"))
		b.Env.OutSrc = netip.Addr{}
		wantMSS(t, step(t, b, mss(cs(syn), 1460), ""), 1460)
	})
}
