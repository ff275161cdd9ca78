package packet

import (
	"bytes"
	"testing"
)

func TestParseEthernet(t *testing.T) {
	frame := unhex(t, "020000000002 020000000001 88cc 0102")
	v, r := ParseEthernet(frame)
	if r != ReasonNone {
		t.Fatalf("ParseEthernet(%x): got %v", frame, r)
	}
	if v.Dst() != serverMAC || v.Src() != clientMAC || v.Type() != 0x88cc || !bytes.Equal(v.Payload(), []byte{1, 2}) {
		t.Errorf("got %v > %v type %v payload %x", v.Src(), v.Dst(), v.Type(), v.Payload())
	}
	wantPrefixes(t, frame, EthernetLen, func(b []byte) Reason { _, r := ParseEthernet(b); return r })
	if _, r := ParseEthernet(frame[:13]); r != ReasonFrameTruncated {
		t.Errorf("13 bytes: got %v, want %v", r, ReasonFrameTruncated)
	}
}

func TestEncodeEthernet(t *testing.T) {
	var o Out
	o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC, Type: 0x88cc})
	o.SetPayload([]byte{1, 2})
	if got, want := emit(t, &o), unhex(t, "020000000002 020000000001 88cc 0102"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	// An IEEE 802.3 length is the payload's.
	o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC, Type: 2})
	if got, want := emit(t, &o), unhex(t, "020000000002 020000000001 0002 0102"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestEthernetStrings(t *testing.T) {
	if got := serverMAC.String(); got != "02:00:00:00:00:02" {
		t.Errorf("MAC: got %q", got)
	}
	if got := (Ethernet{Dst: serverMAC, Src: clientMAC}).String(); got != "02:00:00:00:00:01 > 02:00:00:00:00:02" {
		t.Errorf("Ethernet: got %q", got)
	}
	for typ, want := range map[EtherType]string{
		EtherTypeIPv4: "IPv4", EtherTypeIPv6: "IPv6", EtherTypeARP: "ARP", EtherTypeRARP: "RARP", EtherTypeVLAN: "802.1Q", EtherTypeQinQ: "802.1ad", 0x0012: "0x0012",
	} {
		if got := typ.String(); got != want {
			t.Errorf("EtherType(%#x): got %q, want %q", uint16(typ), got, want)
		}
	}
	if !BroadcastMAC.IsMulticast() || !(MAC{0x33, 0x33}).IsMulticast() || clientMAC.IsMulticast() {
		t.Error("IsMulticast is wrong")
	}
}
