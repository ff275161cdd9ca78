package wasm

// streamCalls are the calls about a stream.
var streamCalls = []call{
	{"pass", "i", "i", "", (*guest).callPass},
	{"skip", "i", "i", "", (*guest).callSkip},
	{"send", "ii", "i", "", (*guest).callSend},
	{"reply", "ii", "i", "", (*guest).callReply},
	{"deny", "i", "i", "", (*guest).callDeny},
	{"wake", "I", "i", CapTimers, (*guest).callWake},
}

// flowing is the stream that a call is about.
func (g *guest) flowing() *filter {
	if g.flow == nil {
		g.fail("a call about a stream, while none is judged")
	}
	return g.flow
}

// callPass hands on the first of the waiting bytes.
func (g *guest) callPass(s []uint64) {
	if c := g.flowing(); !c.take(uint64(uint32(s[0])), true) {
		g.fail("pass: %d bytes of %d that wait", uint32(s[0]), len(c.in)-c.taken)
	}
	s[0] = callOK
}

// callSkip leaves the first of the waiting bytes out.
func (g *guest) callSkip(s []uint64) {
	if c := g.flowing(); !c.take(uint64(uint32(s[0])), false) {
		g.fail("skip: %d bytes of %d that wait", uint32(s[0]), len(c.in)-c.taken)
	}
	s[0] = callOK
}

// callSend hands on bytes of the guest's own.
func (g *guest) callSend(s []uint64) {
	if !g.flowing().send(g.bytes(s[0], s[1])) {
		g.fail("send: more than %d bytes in one call", maxSend)
	}
	s[0] = callOK
}

// callReply says bytes of the guest's own to who has sent what is judged.
func (g *guest) callReply(s []uint64) {
	c := g.flowing()
	s[0] = did(c.reply(g.bytes(s[0], s[1])))
}

// callDeny counts that a part of the stream is refused.
func (g *guest) callDeny(s []uint64) {
	c := g.flowing()
	r, ok := g.m.reason(uint32(s[0]))
	if !ok {
		g.fail("deny: reason %d is not registered", uint32(s[0]))
	}
	s[0] = callOK
	if c.pair.deny(r) {
		s[0] = callStop
	}
}

// callWake has the flow judged again after some ns, whether bytes come or not.
func (g *guest) callWake(s []uint64) {
	g.flowing().wake(g.m.host.Env().Now(), s[0])
	s[0] = callOK
}
