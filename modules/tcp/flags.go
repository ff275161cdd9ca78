package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// flagReasons says for each combination of FIN, SYN, RST, PSH, ACK and URG (the
// low six bits) why it is refused; zero: it is valid (RFC 9293 §3.10.7). PSH
// and URG are free where ACK is set; ECE and CWR are not looked at.
var flagReasons = validFlags()

// CheckFlags tells why no TCP sends a combination of flags; ReasonNone: it is
// valid. It is for functions that build segments without tcp before them.
func CheckFlags(f packet.TCPFlags) ppf.Reason { return flagReasons[f&0x3f] }

func validFlags() (t [64]ppf.Reason) {
	const fin, syn, rst, psh, ack, urg = packet.FIN, packet.SYN, packet.RST, packet.PSH, packet.ACK, packet.URG
	for i := range t {
		f := packet.TCPFlags(i)
		switch {
		case f == 0:
			t[i] = ReasonFlagsNull
		case f&syn != 0 && f&fin != 0:
			t[i] = ReasonFlagsSynFin
		case f&syn != 0 && f&rst != 0:
			t[i] = ReasonFlagsSynRst
		case f&fin != 0 && f&rst != 0:
			t[i] = ReasonFlagsFinRst
		case f&(fin|psh|urg|ack) == fin|psh|urg:
			t[i] = ReasonFlagsXmas
		case f&(ack|syn|rst) == 0:
			t[i] = ReasonFlagsNoAck
		}
	}
	return t
}
