package tcp

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// TestTransitions lists every cell of the table: per event and sender's state,
// what follows for each state of the peer, in the order SILENT, SYN-SENT,
// SYN-RECEIVED, ESTABLISHED, FIN-SENT, RESET. A dash refuses, a dot stays SILENT.
func TestTransitions(t *testing.T) {
	letters := map[byte]State{'-': Invalid, '.': Silent, 'S': SynSent, 'R': SynReceived, 'E': Established, 'F': FinSent, 'X': Reset}
	want := map[event]map[State]string{
		evSyn:    {Silent: "SS----", SynSent: "SSS---", SynReceived: "-RR---", Established: "------", FinSent: "------", Reset: "------"},
		evSynAck: {Silent: "-R----", SynSent: "-RR---", SynReceived: "-RRRR-", Established: "--EEE-", FinSent: "------", Reset: "------"},
		evAck:    {Silent: "-.----", SynSent: "--EEEE", SynReceived: "-REEEE", Established: "-EEEEE", FinSent: "--FFFF", Reset: "--EEEE"},
		evFin:    {Silent: "------", SynSent: "--FFFF", SynReceived: "-RFFFF", Established: "-FFFFF", FinSent: "--FFFF", Reset: "--FFFF"},
		evRst:    {Silent: "-X----", SynSent: "XXXXXX", SynReceived: "XXXXXX", Established: "XXXXXX", FinSent: "XXXXXX", Reset: "XXXXXX"},
	}
	for ev := range numEvents {
		for own := Silent; own < numStates; own++ {
			row := want[ev][own]
			for peer := Silent; peer < numStates; peer++ {
				if got, want := next(ev, own, peer, false), letters[row[peer-Silent]]; got != want {
					t.Errorf("event %d, sender %v, peer %v: got %v, want %v", ev, own, peer, got, want)
				}
			}
		}
		for peer := range numStates {
			if got := transitions[ev][Invalid][peer]; got != Invalid {
				t.Errorf("event %d from INVALID: got %v", ev, got)
			}
		}
	}
}

// TestOneWay: a half instance sees one side only.
func TestOneWay(t *testing.T) {
	for _, tt := range []struct {
		ev   event
		own  State
		want State
	}{
		{evSyn, Silent, SynSent}, {evAck, Silent, Invalid}, {evFin, Silent, Invalid}, {evRst, Silent, Invalid},
		{evAck, SynSent, Established}, {evFin, Established, FinSent}, {evAck, FinSent, FinSent}, {evRst, Established, Reset}, {evSyn, Established, Invalid},
	} {
		if got := next(tt.ev, tt.own, Silent, true); got != tt.want {
			t.Errorf("event %d, sender %v: got %v, want %v", tt.ev, tt.own, got, tt.want)
		}
	}
}

func TestPhase(t *testing.T) {
	for _, tt := range []struct {
		opener, other State
		want          phase
	}{
		{SynSent, Silent, phaseSynSent}, {SynSent, SynReceived, phaseSynReceived}, {SynSent, SynSent, phaseSynReceived}, {SynReceived, SynReceived, phaseSynReceived},
		{Established, SynReceived, phaseEstablished}, {Established, Established, phaseEstablished}, {Established, Silent, phaseEstablished},
		{FinSent, Established, phaseFinWait}, {Established, FinSent, phaseCloseWait}, {FinSent, FinSent, phaseTimeWait},
		{Reset, Established, phaseClosed}, {FinSent, Reset, phaseClosed}, {SynSent, Reset, phaseClosed},
	} {
		if got := phaseOf(tt.opener, tt.other); got != tt.want {
			t.Errorf("opener %v, other %v: got %v, want %v", tt.opener, tt.other, got, tt.want)
		}
	}
}

// TestFlags goes through all 64 combinations of the six flags.
func TestFlags(t *testing.T) {
	const psh, urg = packet.PSH, packet.URG
	valid := map[packet.TCPFlags]bool{}
	for _, f := range []packet.TCPFlags{
		packet.SYN, packet.SYN | packet.ACK, packet.ACK, packet.FIN | packet.ACK, packet.RST, packet.RST | packet.ACK,
	} {
		for _, extra := range []packet.TCPFlags{0, psh, urg, psh | urg} {
			valid[f|extra] = true
		}
	}
	for f := range packet.TCPFlags(64) {
		if got := flagReasons[f] == packet.ReasonNone; got != valid[f] {
			t.Errorf("flags %v: valid %v, want %v", f, got, valid[f])
		}
	}
	for f, want := range map[packet.TCPFlags]ppf.Reason{
		0:                       ReasonFlagsNull,
		packet.FIN | psh | urg:  ReasonFlagsXmas,
		packet.SYN | packet.FIN: ReasonFlagsSynFin,
		packet.SYN | packet.RST: ReasonFlagsSynRst,
		packet.FIN | packet.RST: ReasonFlagsFinRst,
		packet.FIN:              ReasonFlagsNoAck,
		psh:                     ReasonFlagsNoAck,
		63:                      ReasonFlagsSynFin,
		packet.FIN | packet.SYN | packet.RST | packet.ACK: ReasonFlagsSynFin,
	} {
		if got := flagReasons[f]; got != want {
			t.Errorf("flags %v: %v, want %v", f, got, want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := &Config{Adopt: -1, Connections: -1, ClientConnections: -1, HalfOpenConnections: -1, MSSMin: 65536, MSSMax: 1}
	err := bad.Validate()
	for _, name := range []string{"half_open", "established", "closing", "closed", "adopt", "connections", "client_connections", "half_open_connections", "mss_min", "mss_max"} {
		if err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("no problem with %s in %v", name, err)
		}
	}
}
