package wasm

import (
	"fmt"

	"github.com/promethos/promethos/pfm"
)

// stream lets the code judge what waits of a stream.
func (h *nativeHost) stream(b *binding, c *filter) error {
	bound, err := h.ready(b)
	if err != nil {
		return err
	}
	// Code that is compiled in gives no error.
	bytes, _ := h.m.bytesOfCell(&c.pair.cell, h.m.migrateNative)
	c.put(h.descriptor[:], b.handle, h.m.host.Env().Now())
	putStorage(h.descriptor[:], bytes)
	h.flow, h.stop = c, false
	defer func() { h.flow = nil }()
	h.flowing.Reset()
	v := bound.Stream(h.flowing)
	copy(bytes, h.descriptor[dStorage:])
	switch {
	case h.stop || v == pfm.Accept:
	case v == pfm.CloseStream:
		c.close()
	default:
		c.drop(h.m.reasonOf[v.Reason()])
	}
	return nil
}

// Pass hands on the first of the waiting bytes.
func (h *nativeHost) Pass(n uint32) { h.take(n, true) }

// Skip leaves the first of the waiting bytes out.
func (h *nativeHost) Skip(n uint32) { h.take(n, false) }

func (h *nativeHost) take(n uint32, pass bool) {
	if !h.flow.take(uint64(n), pass) {
		panic(fmt.Sprintf("module %s: it takes %d bytes of %d that wait", h.m.manifest.Name, n, len(h.flow.in)-h.flow.taken))
	}
}

// Send hands on bytes of the module's own.
func (h *nativeHost) Send(b []byte) {
	if !h.flow.send(b) {
		panic(fmt.Sprintf("module %s: it sends more than %d bytes in one call", h.m.manifest.Name, maxSend))
	}
}

// Reply says bytes of the module's own to who has sent what is judged.
func (h *nativeHost) Reply(b []byte) bool { return h.flow.reply(b) }

// Deny counts that a part of the stream is refused.
func (h *nativeHost) Deny(r pfm.Reason) bool { return h.flow.pair.deny(h.m.reasonOf[r]) }

// Wake has the flow judged again when some time has passed.
func (h *nativeHost) Wake(after int64) {
	h.needs(CapTimers)
	h.flow.wake(h.m.host.Env().Now(), uint64(after))
}
