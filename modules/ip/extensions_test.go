package ip_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// The extension headers of the tests; the next header of each is written by extended.
const (
	hop         = 0
	routing     = 43
	fragment    = 44
	auth        = 51
	destination = 60
	udpProto    = 17

	alert    = "05 02 0000"
	limit    = "04 01 07"
	segments = "02 04 00 00 00 0005 20010db8000200000000000000000001" // to server6; without the next header
)

type extension struct {
	protocol byte
	rest     string // from the length on, hexadecimal
}

// extended puts extension headers into an IPv6 packet with UDP.
func extended(t testing.TB, list ...extension) []byte {
	t.Helper()
	plain := header{src: client6, dst: server6, ttl: 9}.bytes(t)
	b := bytes.Clone(plain[:packet.IPv6Len])
	at := 6
	for _, e := range list {
		b[at] = e.protocol
		rest, err := hex.DecodeString(strings.ReplaceAll(e.rest, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		at = len(b)
		b = append(append(b, 0), rest...)
	}
	b[at] = udpProto
	binary.BigEndian.PutUint16(b[4:], uint16(len(plain)+len(b)-2*packet.IPv6Len))
	return append(b, plain[packet.IPv6Len:]...)
}

// TestExtensions: what is listed is written anew, in order; what is not is left out,
// or refused where it says that it must not be ignored.
func TestExtensions(t *testing.T) {
	const (
		removed = "ip6.extension-removed"
		option  = "ip6.option-removed"
		unknown = "ip6.option.unknown"
	)
	all := []ppf.KeyValue{set("extensions", "hop-by-hop", "routing", "destination")}
	more := append(all[:1:1], set("extension_options", "router-alert", "0x1e", "0xde"))
	oneAlert := extension{hop, "00" + alert + "01 00"}
	oneLimit := extension{destination, "00" + limit + "01 01 00"}
	route := extension{routing, segments}
	for _, tt := range []struct {
		name     string
		settings []ppf.KeyValue
		received []extension
		sent     []extension
		drop     string
		repair   string
	}{
		{"nothing listed", nil, []extension{oneAlert, oneLimit}, nil, "", removed},
		{"one listed", []ppf.KeyValue{set("extensions", "destination")}, []extension{oneAlert, oneLimit}, []extension{oneLimit}, "", removed},
		{"all listed", all, []extension{oneAlert, oneLimit, route, oneLimit}, []extension{oneAlert, oneLimit, route, oneLimit}, "", ""},
		{"padding", all, []extension{{hop, "01 01 04 00000000 01 06 000000000000"}}, nil, "", ""},
		{"padding that says something", all, []extension{{hop, "01 01 04 01020304" + alert + "00 00 00 00"}}, []extension{oneAlert}, "", ""},
		{"order", all, []extension{oneLimit, {fragment, "00 0000 00000001"}}, []extension{oneLimit}, "", removed},
		{"another option", all, []extension{{hop, "01" + alert + "1e 08 0102030405060708"}}, []extension{oneAlert}, "", option},
		{"another option, listed", more, []extension{{hop, "01" + alert + "1e 08 0102030405060708"}}, []extension{{hop, "01" + alert + "1e 08 0102030405060708"}}, "", ""},
		{"one that must be known", all, []extension{{destination, "00 de 04 01020304"}}, nil, unknown, ""},
		{"one that must be known, listed", more, []extension{{destination, "00 de 04 01020304"}}, []extension{{destination, "00 de 04 01020304"}}, "", ""},
		{"one that must be known, nothing listed", nil, []extension{{hop, "00 81 04 00000000"}}, nil, unknown, ""},
		{"home address", more, []extension{{destination, "02 01 02 0000 c9 10 20010db8000300000000000000000001"}}, nil, unknown, ""},
		{"a route that goes", []ppf.KeyValue{set("extensions", "destination")}, []extension{{destination, "00 01 04 00000000"}, route, oneLimit}, []extension{oneLimit}, "", removed},
		{"a route that goes, two limits", []ppf.KeyValue{set("extensions", "destination")}, []extension{oneLimit, route, oneLimit}, nil, "ip6.option.duplicate", ""},
		{"a route elsewhere", all, []extension{{routing, "02 04 00 00 00 0005 20010db8000200000000000000000009"}}, nil, "ip6.extension.segments", ""},
		{"a route elsewhere, nothing listed", nil, []extension{{routing, "02 04 00 00 00 0005 20010db8000200000000000000000009"}}, nil, "", removed},
		{"a route on its way", all, []extension{{routing, strings.Replace(segments, "04 00", "04 01", 1)}}, nil, "ip6.extension.routing", ""},
		{"type 0", all, []extension{{routing, strings.Replace(segments, "04 00", "00 00", 1)}}, nil, "ip6.extension.rh0", ""},
		{"another type", all, []extension{{routing, "00 63 00 00000000"}}, nil, "", removed},
		{"authentication", all, []extension{{auth, "04 0000 00000001 00000001 000000000000000000000000"}}, nil, "", removed},
		{"jumbo payload", all, []extension{{hop, "00 c2 04 00010000"}}, nil, "ip6.jumbogram", ""},
		{"too long", more, []extension{{hop, "0e 1e 70" + strings.Repeat("00", 112) + "01 02 0000"}, {destination, "0e 1e 70" + strings.Repeat("00", 112) + "01 02 0000"}},
			nil, "ip6.extension.too-many", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, everything(tt.settings...))
			action, out := b.Send(ppf.Forward, extended(t, tt.received...))
			if tt.drop != "" {
				if action != ppf.Drop || b.Count(tt.drop, ppf.OutcomeDrop) != 1 {
					t.Errorf("%v, want a drop for %s; %+v", action, tt.drop, b.Engine.ReasonCounts())
				}
				b.Accounted()
				return
			}
			if want := extended(t, tt.sent...); action != ppf.Accept || !bytes.Equal(out, want) {
				t.Errorf("%v\ngot  %x\nwant %x; %+v", action, out, want, b.Engine.ReasonCounts())
			}
			if tt.repair == "" && len(b.Engine.ReasonCounts()) > 0 || tt.repair != "" && b.Count(tt.repair, ppf.OutcomeRepair) != 1 {
				t.Errorf("want %q, got %+v", tt.repair, b.Engine.ReasonCounts())
			}
			b.Accounted()
		})
	}
}

func TestExtensionSettings(t *testing.T) {
	b := ppftest.New(t, everything())
	for _, wrong := range []ppf.KeyValue{
		set("extensions", "fragment"), set("extensions", "60"), set("extension_options", "pad"), set("extension_options", "0"), set("extension_options", "1"),
		set("extension_options", "0xc2"), set("extension_options", "201"), set("extension_options", "256"),
	} {
		if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{everything(wrong)}}); err == nil {
			t.Errorf("%s: %+v was taken", wrong.Key, wrong.Value)
		}
	}
}

func TestExtensionsDoNotAllocate(t *testing.T) {
	b := ppftest.New(t, everything(set("extensions", "hop-by-hop", "routing", "destination"), set("extension_options", "router-alert", "0x1e")))
	list := []ppf.Frame{
		b.Frame(ppf.Forward, extended(t, extension{hop, "00" + alert + "01 00"}, extension{routing, segments}, extension{destination, "00 1e 04 01020304"})),
	}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 || list[0].Action != ppf.Accept {
		t.Errorf("%v allocations, %v, want 0; %+v", n, list[0].Action, b.Engine.ReasonCounts())
	}
}
