package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func testEnv() AttackEnv {
	return AttackEnv{
		SrcMAC: [6]byte(macClient), DstMAC: [6]byte(macClient0), Port: 80, Mark: attackMark,
		Source4: netip.MustParseAddr("10.77.1.102"), Server4: netip.MustParseAddr("10.77.2.2"),
		Source6: netip.MustParseAddr("fd77:1::66"), Server6: netip.MustParseAddr("fd77:2::2"),
	}
}

func TestAttacksAreTellable(t *testing.T) {
	env := testEnv()
	names := map[string]bool{}
	for _, a := range Attacks() {
		if names[a.Name] || a.Name == "" || a.About == "" || a.Reason == "" || !slices.Contains([]string{"tcp", "udp", "icmp"}, a.Protocol) {
			t.Errorf("attack %+v: not described, or twice", a)
		}
		names[a.Name] = true
		frames := a.Frames(env)
		if len(frames) == 0 {
			t.Errorf("%s: no frames", a.Name)
		}
		for i, f := range frames {
			if got := a.Seen(env, f); got != Arrived {
				t.Errorf("%s: frame %d (%x): got %v, want %v", a.Name, i, f, got, Arrived)
			}
			if v6 := f[12] == 0x86; v6 != a.IPv6 {
				t.Errorf("%s: IPv6 %v, frame says %v", a.Name, a.IPv6, v6)
			}
			for _, other := range Attacks() {
				if got := other.Seen(env, f); other.Name != a.Name && got != Stopped {
					t.Errorf("frame of %s: %s says %v, want %v", a.Name, other.Name, got, Stopped)
				}
			}
			for _, later := range Attacks() {
				if got := later.Seen(env.Afresh(), f); got != Stopped {
					t.Errorf("frame of an earlier %s: %s says %v, want %v", a.Name, later.Name, got, Stopped)
				}
			}
			if got := a.Outcome(env, []Frame{{Data: f, Outgoing: true}}); got != Stopped {
				t.Errorf("%s: a frame that the server sends: got %v, want %v", a.Name, got, Stopped)
			}
		}
	}
	if len(names) < 24 {
		t.Errorf("only %d attacks", len(names))
	}
}

// TestRebuiltAttacks sends what a repairing proxy makes of an attack: an innocent
// segment from the same port.
func TestRebuiltAttacks(t *testing.T) {
	env := testEnv()
	for _, a := range Attacks() {
		if a.Protocol != "tcp" || slices.Contains([]string{"tcp.midstream"}, a.Reason) {
			continue
		}
		src, dst := env.Source4, env.Server4
		if a.IPv6 {
			src, dst = env.Source6, env.Server6
		}
		segment := env.segment(hostileTCP{flags: flagSYN, options: validMSS}, env.Mark+a.index)
		frame := env.ethernet(hostileIP{src: src, dst: dst, proto: protoTCP, fragment: ip4DF, payload: segment.bytes(src, dst)}.bytes())
		if got := a.Seen(env, frame); got != Rebuilt {
			t.Errorf("%s: rebuilt frame %x: got %v, want %v", a.Name, frame, got, Rebuilt)
		}
		if got := a.Outcome(env, []Frame{{Data: frame}, {Data: a.Frames(env)[0]}, {Data: frame}}); got != Arrived {
			t.Errorf("%s: both: got %v, want %v", a.Name, got, Arrived)
		}
	}
}

// TestAttacksArriveWithoutProxy is what makes their absence behind a proxy count.
func TestAttacksArriveWithoutProxy(t *testing.T) {
	l := up(t, Options{NoOffloads: true})
	env, err := l.AttackEnv(80)
	if err != nil {
		t.Fatal(err)
	}
	capture, err := l.Server.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := l.Client.RawSender("")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for _, a := range Attacks() {
		frames := a.Frames(env)
		if err := sender.SendAll(frames); err != nil {
			t.Fatal(err)
		}
		left := len(frames)
		if _, err := capture.Wait(t.Context(), func(f Frame) bool {
			if a.Seen(env, f.Data) == Arrived && !f.Outgoing {
				left--
			}
			return left == 0
		}); err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
	}
	if _, err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, a := range Attacks() {
		if got := a.Outcome(env, capture.Frames()); got != Arrived {
			t.Errorf("%s: got %v, want %v", a.Name, got, Arrived)
		}
	}
}

func TestAttackByName(t *testing.T) {
	a, err := AttackByName("xmas-scan")
	if err != nil || a.Reason != "tcp.flags.xmas" {
		t.Errorf("AttackByName(xmas-scan): got %+v, %v", a, err)
	}
	if _, err := AttackByName("none"); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("AttackByName(none): got %v, want an error that names it", err)
	}
}

// TestDissectSurvives cuts frames everywhere, with lengths that do not fit and with
// lengths that do: no predicate may panic.
func TestDissectSurvives(t *testing.T) {
	env := testEnv()
	for _, a := range Attacks() {
		for _, f := range a.Frames(env) {
			for n := range f {
				a.Seen(env, f[:n])
				cut := slices.Clone(f[:n])
				if at, header := 16, 14; !a.IPv6 && n >= at+2 {
					binary.BigEndian.PutUint16(cut[at:], uint16(n-header))
				}
				if at, header := 18, 54; a.IPv6 && n >= header {
					binary.BigEndian.PutUint16(cut[at:], uint16(n-header))
				}
				a.Seen(env, cut)
			}
		}
	}
}
