package lab

import (
	"testing"

	_ "github.com/promethos/promethos/modules/ip" // registers reasons
	_ "github.com/promethos/promethos/modules/tcp"
	"github.com/promethos/promethos/packet"
)

// TestAttackReasons keeps the attacks' reasons those of the packages that count
// them.
func TestAttackReasons(t *testing.T) {
	env := testEnv()
	for _, a := range Attacks() {
		want, ok := packet.ReasonByName(a.Reason)
		if !ok {
			t.Errorf("%s: reason %s is not registered", a.Name, a.Reason)
			continue
		}
		if (want.Info().Class == packet.Repaired) != a.Repairable {
			t.Errorf("%s: reason %s is of class %v, attack repairable %v", a.Name, want, want.Info().Class, a.Repairable)
		}
		if got := parseReason(a.Frames(env)); got != packet.ReasonNone && got != want {
			t.Errorf("%s: package packet says %v, want %v", a.Name, got, want)
		}
	}
}

// parseReason is what package packet says of the first frame that it minds.
func parseReason(frames [][]byte) packet.Reason {
	for _, f := range frames {
		var p packet.Packet
		if r := p.Parse(packet.LinkEthernet, f); r != packet.ReasonNone {
			return r
		}
		if r := p.VerifyChecksums(true); r != packet.ReasonNone {
			return r
		}
		if p.Has(packet.HasTCP) {
			var options packet.TCPOptions
			if r := p.TCP().ParseOptions(&options); r != packet.ReasonNone {
				return r
			}
		}
	}
	return packet.ReasonNone
}
