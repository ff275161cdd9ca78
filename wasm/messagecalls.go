package wasm

// messageCalls are the calls about a message.
var messageCalls = []call{
	{"text", "iii", "i", "", (*guest).callText},
	{"set_method", "ii", "i", "", (*guest).callSetMethod},
	{"set_target", "iiii", "i", "", (*guest).callSetTarget},
	{"set_host", "iii", "i", "", (*guest).callSetHost},
	{"set_status", "i", "i", "", (*guest).callSetStatus},
	{"field", "iiiii", "i", "", (*guest).callField},
	{"field_at", "iiiii", "I", "", (*guest).callFieldAt},
	{"set_field", "iiii", "i", "", (*guest).callSetField},
	{"add_field", "iiii", "i", "", (*guest).callAddField},
	{"remove_field", "ii", "i", "", (*guest).callRemoveField},
	{"want_body", "ii", "i", "", (*guest).callWantBody},
	{"body", "iii", "i", "", (*guest).callBody},
	{"set_body", "ii", "i", "", (*guest).callSetBody},
}

// judged is the message that a call is about.
func (g *guest) judged() *messageJob {
	if g.job == nil {
		g.fail("a call about a message, while none is judged")
	}
	return g.job
}

// did is the answer of a call that can be impossible.
func did(ok bool) uint64 {
	if ok {
		return callOK
	}
	return uint64(callMissing)
}

// callText copies the method, path, query or host; the answer is its whole length.
func (g *guest) callText(s []uint64) {
	b, ok := g.judged().text(uint32(s[0]))
	if !ok {
		g.fail("text: there is no %d", uint32(s[0]))
	}
	copy(g.bytes(s[1], s[2]), b)
	s[0] = uint64(len(b))
}

// callSetMethod asks for another method.
func (g *guest) callSetMethod(s []uint64) {
	j := g.judged()
	s[0] = did(j.inRequest() && j.x.Request.SetMethod(string(g.bytes(s[0], s[1]))))
}

// callSetTarget asks for another path and query.
func (g *guest) callSetTarget(s []uint64) {
	j := g.judged()
	s[0] = did(j.inRequest() && j.x.Request.SetTarget(string(g.bytes(s[0], s[1])), string(g.bytes(s[2], s[3]))) == nil)
}

// callSetHost sends another host.
func (g *guest) callSetHost(s []uint64) {
	j := g.judged()
	s[0] = did(j.inRequest() && j.x.Request.SetHost(string(g.bytes(s[0], s[1])), uint16(s[2])))
}

// callSetStatus changes the response's status code.
func (g *guest) callSetStatus(s []uint64) { s[0] = did(g.judged().setStatus(int(uint32(s[0])))) }

// callField copies the value of a field by name; the answer is its whole length.
func (g *guest) callField(s []uint64) {
	value, ok := g.judged().field(g.bytes(s[0], s[1]), int(uint32(s[2])))
	if !ok {
		s[0] = uint64(callMissing)
		return
	}
	copy(g.bytes(s[3], s[4]), value)
	s[0] = uint64(len(value))
}

// callFieldAt copies name and value of a field by place; the answer has the
// length of the name in its upper half and that of the value in the lower one.
func (g *guest) callFieldAt(s []uint64) {
	name, value, ok := g.judged().fieldAt(int(uint32(s[0])))
	if !ok {
		s[0] = ^uint64(0)
		return
	}
	copy(g.bytes(s[1], s[2]), name)
	copy(g.bytes(s[3], s[4]), value)
	s[0] = uint64(len(name))<<32 | uint64(len(value))
}

// callSetField replaces all fields of a name by one.
func (g *guest) callSetField(s []uint64) {
	s[0] = did(g.judged().header.Set(string(g.bytes(s[0], s[1])), string(g.bytes(s[2], s[3]))) == nil)
}

// callAddField appends a field.
func (g *guest) callAddField(s []uint64) {
	s[0] = did(g.judged().header.Add(string(g.bytes(s[0], s[1])), string(g.bytes(s[2], s[3]))) == nil)
}

// callRemoveField removes all fields of a name.
func (g *guest) callRemoveField(s []uint64) {
	g.judged().header.Del(string(g.bytes(s[0], s[1])))
	s[0] = callOK
}

// callWantBody asks for the body of the message whose head is judged.
func (g *guest) callWantBody(s []uint64) {
	s[0] = did(g.judged().wantBody(int(uint32(s[0])), uint32(s[1]) == 1))
}

// callBody copies a part of the body that is judged.
func (g *guest) callBody(s []uint64) {
	body := g.judged().body
	from := min(uint64(uint32(s[0])), uint64(len(body)))
	s[0] = uint64(copy(g.bytes(s[1], s[2]), body[from:]))
}

// callSetBody replaces it by a copy of bytes of the guest.
func (g *guest) callSetBody(s []uint64) {
	s[0] = did(g.judged().setBody(g.bytes(s[0], s[1])))
}
