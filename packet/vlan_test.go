package packet

import (
	"bytes"
	"testing"
)

func TestParseVLAN(t *testing.T) {
	tag := unhex(t, "b064 0800 45")
	v, r := ParseVLAN(EtherTypeQinQ, tag)
	if r != ReasonNone {
		t.Fatalf("ParseVLAN(%x): got %v", tag, r)
	}
	if v.TPID() != EtherTypeQinQ || v.PCP() != 5 || !v.DEI() || v.VID() != 100 || v.Type() != EtherTypeIPv4 || !bytes.Equal(v.Payload(), tag[4:]) {
		t.Errorf("got %v pcp=%d dei=%v vid=%d type %v payload %x", v.TPID(), v.PCP(), v.DEI(), v.VID(), v.Type(), v.Payload())
	}
	wantPrefixes(t, tag, VLANLen, func(b []byte) Reason { _, r := ParseVLAN(EtherTypeVLAN, b); return r })
}

func TestEncodeVLANs(t *testing.T) {
	tests := []struct {
		name string
		tags []VLANTag
		want string
	}{
		{"none", nil, "0800"},
		{"one", []VLANTag{{TPID: EtherTypeVLAN, VID: 10}}, "8100 000a 0800"},
		{"two", []VLANTag{{EtherTypeQinQ, 7, true, 4095}, {EtherTypeVLAN, 1, false, 1}}, "88a8 ffff 8100 2001 0800"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tcpOut4()
			o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC})
			o.SetVLANs(VLANTag{TPID: EtherTypeVLAN, VID: 99}) // replaced by the next line
			o.SetVLANs(tt.tags...)
			b := emit(t, o)
			want := unhex(t, tt.want)
			if got := b[12 : 12+len(want)]; !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
			p := parse(t, LinkEthernet, b)
			if len(p.VLANs()) != len(tt.tags) || p.Has(HasVLAN) != (len(tt.tags) > 0) || !p.Has(HasTCP) {
				t.Fatalf("parsed: %d tags, layers %v", len(p.VLANs()), p.Layers())
			}
			for i, v := range p.VLANs() {
				if got := (VLANTag{v.TPID(), v.PCP(), v.DEI(), v.VID()}); got != tt.tags[i] {
					t.Errorf("tag %d: got %v, want %v", i, got, tt.tags[i])
				}
			}
		})
	}
}

func TestSetVLANsPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("SetVLANs takes three tags")
		}
	}()
	new(Out).SetVLANs(VLANTag{}, VLANTag{}, VLANTag{})
}

func TestVLANTagString(t *testing.T) {
	if got, want := (VLANTag{EtherTypeQinQ, 3, true, 10}).String(), "802.1ad vid=10 pcp=3 dei"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
