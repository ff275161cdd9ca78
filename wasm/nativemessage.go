package wasm

import "github.com/promethos/promethos/pfm"

var _ unit = (*nativeHost)(nil)

// message lets the code judge a message.
func (h *nativeHost) message(b *binding, j *messageJob) error {
	bound, err := h.ready(b)
	if err != nil {
		return err
	}
	// Code that is compiled in gives no error.
	bytes, _ := h.m.bytesOfCell(&j.cell, h.m.migrateNative)
	j.put(h.descriptor[:], b.handle, h.m.host.Env().Now())
	putStorage(h.descriptor[:], bytes)
	h.job, h.stop = j, false
	defer func() { h.job = nil }()
	v := h.judged.Judge(bound.Message)
	copy(bytes, h.descriptor[dStorage:])
	if !h.stop && v != pfm.Accept {
		j.refuse(h.m.reasonOf[v.Reason()], v.Code())
	}
	return nil
}

// Text copies the method, path, query or host.
func (h *nativeHost) Text(what uint32, to []byte) int {
	b, ok := h.job.text(what)
	if !ok {
		return -1
	}
	copy(to, b)
	return len(b)
}

// SetMethod asks for another method.
func (h *nativeHost) SetMethod(name string) bool {
	return h.job.inRequest() && h.job.x.Request.SetMethod(name)
}

// SetTarget asks for another path and query.
func (h *nativeHost) SetTarget(path, query string) bool {
	return h.job.inRequest() && h.job.x.Request.SetTarget(path, query) == nil
}

// SetHost sends another host.
func (h *nativeHost) SetHost(name string, port uint16) bool {
	return h.job.inRequest() && h.job.x.Request.SetHost(name, port)
}

// SetStatus changes the response's status code.
func (h *nativeHost) SetStatus(code int) bool { return h.job.setStatus(code) }

// Field copies the value of a field by name.
func (h *nativeHost) Field(name string, n int, to []byte) int {
	value, ok := h.job.field([]byte(name), n)
	if !ok {
		return -1
	}
	copy(to, value)
	return len(value)
}

// FieldAt copies name and value of a field by place.
func (h *nativeHost) FieldAt(i int, name, value []byte) (nameLen, valueLen int) {
	n, v, ok := h.job.fieldAt(i)
	if !ok {
		return -1, -1
	}
	copy(name, n)
	copy(value, v)
	return len(n), len(v)
}

// SetField replaces all fields of a name by one.
func (h *nativeHost) SetField(name, value string) bool { return h.job.header.Set(name, value) == nil }

// AddField appends a field.
func (h *nativeHost) AddField(name, value string) bool { return h.job.header.Add(name, value) == nil }

// RemoveField removes all fields of a name.
func (h *nativeHost) RemoveField(name string) { h.job.header.Del(name) }

// WantBody asks for the body of the message whose head is judged.
func (h *nativeHost) WantBody(limit uint32, need bool) bool { return h.job.wantBody(int(limit), need) }

// Body copies a part of the body that is judged.
func (h *nativeHost) Body(from int, to []byte) int {
	return copy(to, h.job.body[min(from, len(h.job.body)):])
}

// SetBody replaces the body that is judged.
func (h *nativeHost) SetBody(b []byte) bool { return h.job.setBody(b) }
