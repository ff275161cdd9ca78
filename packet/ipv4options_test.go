package packet

import "testing"

func TestCheckIPv4Options(t *testing.T) {
	tests := []struct {
		name string
		opts string
		set  IPv4OptionSet
		want Reason
	}{
		{"none", "", 0, ReasonNone},
		{"padding", "01 01 00 ff", IPOptNOP | IPOptEOL, ReasonNone},
		{"router alert", "94 04 00 00", IPOptRouterAlert, ReasonNone},
		{"record route with three slots", "07 0f 04 00000000 00000000 00000000 00", IPOptRecordRoute | IPOptEOL, ReasonNone},
		{"timestamp", "44 0c 05 00 00000000 00000000", IPOptTimestamp, ReasonNone},
		{"unknown", "88 04 00 01", IPOptOther, ReasonNone},
		{"loose source route", "01 83 07 04 c6336402", IPOptNOP | IPOptLSRR, ReasonIPSourceRoute},
		{"strict source route", "89 07 04 c6336402 00", IPOptSSRR, ReasonIPSourceRoute},
		{"malformed source route", "83 02 00 00", IPOptLSRR, ReasonIPSourceRoute},
		{"length 0", "88 00 00 00", 0, ReasonIPOptionZero},
		{"length 1", "01 88 01 00", IPOptNOP, ReasonIPOptionShort},
		{"beyond the end", "88 05 00 00", 0, ReasonIPOptionEnd},
		{"kind at the end", "01 01 01 88", IPOptNOP, ReasonIPOptionEnd},
		{"router alert of 8 bytes", "94 08 00 00 00 00 00 00", 0, ReasonIPOptionSize},
		{"record route of 4 bytes", "07 04 04 00", 0, ReasonIPOptionSize},
		{"timestamp of 3 bytes", "44 03 05 00", 0, ReasonIPOptionSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, r := CheckIPv4Options(unhex(t, tt.opts))
			if set != tt.set || r != tt.want {
				t.Errorf("CheckIPv4Options(%s): got %v, %v; want %v, %v", tt.opts, set, r, tt.set, tt.want)
			}
		})
	}
}

func TestPacketIPv4Options(t *testing.T) {
	b := unhex(t, "46 00 0018 0000 4000 40 59 0000 c0000201 c6336402 94040000")
	p := parse(t, LinkRawIP, b)
	if p.IPv4Options() != IPOptRouterAlert {
		t.Errorf("got %v, want RA", p.IPv4Options())
	}
	b[20] = ip4OptLSRR
	if r := p.Parse(LinkRawIP, b); r != ReasonIPSourceRoute || p.IPv4Options() != IPOptLSRR || !p.Has(HasIPv4) {
		t.Errorf("got %v, options %v, layers %v", r, p.IPv4Options(), p.Layers())
	}
}

func TestIPv4OptionSetString(t *testing.T) {
	for set, want := range map[IPv4OptionSet]string{0: "none", IPOptNOP: "NOP", IPOptRecordRoute | IPOptOther: "RR|other"} {
		if got := set.String(); got != want {
			t.Errorf("%#x: got %q, want %q", uint8(set), got, want)
		}
	}
}
