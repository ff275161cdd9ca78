package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// options parses the received options and chooses what is carried over.
func (t *Tracker) options(x *ppf.Exchange, in packet.TCPView, out *packet.TCP) (ppf.Verdict, bool) {
	o := &out.Options
	if r := in.ParseOptions(o); r != packet.ReasonNone {
		return x.Refuse(r, uint64(in.HeaderLen()-packet.TCPMinLen)), true
	}
	if isSigned(o) {
		// An exchanged address would make any signature wrong.
		if t.signed == SignedRefuse || t.translator != nil || o.SignatureLen == 0 {
			return x.Refuse(ReasonAuthOption, uint64(o.Has)), true
		}
		out.OptionLen = in.HeaderLen() - packet.TCPMinLen
	}
	if in.Flags()&packet.SYN != 0 {
		return t.synOptions(x, o)
	}
	if o.Has == 0 {
		return ppf.Verdict{}, false
	}
	const synOnly = packet.OptMSS | packet.OptWScale | packet.OptSACKPermitted | packet.OptFastOpen
	if o.Has&synOnly != 0 {
		if v, stop := x.Finding(ReasonSynOnly, uint64(o.Has&synOnly)); stop {
			return v, true
		}
	}
	known := packet.OptSACK | packet.OptTimestamps | signatures | t.carried
	if extra := o.Has &^ (synOnly | known); extra != 0 {
		if v, stop := x.Finding(ReasonUnknownOption, uint64(extra)); stop {
			return v, true
		}
	}
	o.Has &= known &^ synOnly
	return ppf.Verdict{}, false
}

// synOptions chooses what is carried over of a SYN's options, and judges the MSS.
func (t *Tracker) synOptions(x *ppf.Exchange, o *packet.TCPOptions) (ppf.Verdict, bool) {
	// Offers that a peer may ignore are left out: normal business.
	o.Has &= packet.OptMSS | packet.OptWScale | packet.OptSACKPermitted | packet.OptTimestamps | signatures | t.carried
	// A server may announce little, it harms nobody behind us; and a raised value
	// would promise what the client cannot take.
	if o.Has&packet.OptMSS != 0 && x.Dir == ppf.ClientToServer && o.MSS < t.mssMin {
		return x.Refuse(ReasonMSS, uint64(o.MSS)), true
	}
	if o.Has&packet.OptAO == 0 { // which signs the options, too
		t.lowerMSS(x, o)
	}
	return ppf.Verdict{}, false
}
