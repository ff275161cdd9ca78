package tcp

import "github.com/promethos/promethos/packet"

// signatures are the options that sign a segment: MD5 its addresses, its header
// without options, and its data (RFC 2385 §2.0); TCP-AO all options, too (RFC 5925
// §5.1). Only who has the key can make one.
const signatures = packet.OptMD5 | packet.OptAO

func isSigned(o *packet.TCPOptions) bool { return o.Has&signatures != 0 }

// asSigned says whether a signed segment is sent with everything that its signature
// covers as it was received.
func asSigned(in packet.TCPView, out *packet.TCP, payload []byte) bool {
	return in.Reserved() == 0 && in.Urgent() == 0 && in.Flags() == out.Flags && in.Seq() == out.Seq && in.Ack() == out.Ack &&
		in.Window() == out.Window && len(in.Payload()) == len(payload) && (out.Options.Has&packet.OptAO == 0 || out.SameOptions(in))
}
