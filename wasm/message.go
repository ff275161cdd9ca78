package wasm

import (
	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The descriptor of a message, in the place of a packet's. What the two have in
// common stands at the same offset: handle, time, storage, verdict, reason.
const (
	dPhase      = 5   // u8: what is judged
	dTLS        = 6   // u8: 1 where the client's connection is encrypted up to us
	dMinor      = 7   // u8: x of the HTTP/1.x that the client speaks
	dStatus     = 16  // u16: of the response, 0 before it
	dBodyLen    = 20  // u32: octets of the body that is judged
	dClientPort = 24  // u16
	dServerPort = 26  // u16
	dFieldCount = 28  // u32: fields of the message that is judged
	dClient     = 40  // 16 bytes; IPv4 in the last four
	dServer     = 56  // 16 bytes
	dCode       = 176 // u16, of the guest: the status code of a refusal; 0 is 403
)

// phase is what of an exchange is judged.
type phase uint8

const (
	phaseRequest phase = iota
	phaseRequestBody
	phaseResponse
	phaseResponseBody
)

func (p phase) ofResponse() bool { return p >= phaseResponse }

// What text gives.
const (
	textMethod = iota + 1
	textPath
	textQuery
	textHost
	textAskedHost
)

// maxBody is the longest body that a guest may want or write.
const maxBody = 16 << 20

// messageJob is a message that a function judges. One is kept with each client's
// connection.
type messageJob struct {
	cell  largeCell // the connection's bytes
	phase phase
	// wants tells whether the function has asked for the body of the request and
	// of the response.
	wants [2]bool

	// Of one call.
	x       *http.Exchange
	header  *http.Header
	body    []byte
	scratch []byte
}

func (j *messageJob) do(u unit, b *binding) error { return u.message(b, j) }

// messageFunction is a function of level message, ready for one proxy instance.
type messageFunction struct {
	c *core
	*binding
}

var (
	_ http.RequestBodyFunction = (*messageFunction)(nil)
	_ http.BodyFunction        = (*messageFunction)(nil)
)

// Request lets the module judge a request's head.
func (f *messageFunction) Request(x *http.Exchange) {
	j := jobOf(x)
	j.wants = [2]bool{}
	f.judge(j, x, phaseRequest, nil)
}

// Response lets it judge a response's head.
func (f *messageFunction) Response(x *http.Exchange) { f.judge(jobOf(x), x, phaseResponse, nil) }

// RequestBody lets it judge the body that it has asked for.
func (f *messageFunction) RequestBody(x *http.Exchange, body []byte) []byte {
	return f.judge(jobOf(x), x, phaseRequestBody, body)
}

// Body lets it judge the body that it has asked for.
func (f *messageFunction) Body(x *http.Exchange, body []byte) []byte {
	return f.judge(jobOf(x), x, phaseResponseBody, body)
}

// jobOf finds what is kept with the client's connection.
func jobOf(x *http.Exchange) *messageJob {
	if j, ok := (*x.State).(*messageJob); ok {
		return j
	}
	j := &messageJob{}
	*x.State = j
	return j
}

func (f *messageFunction) judge(j *messageJob, x *http.Exchange, p phase, body []byte) []byte {
	j.x, j.phase, j.body, j.header = x, p, body, &x.Request.Header
	side := 0
	if p.ofResponse() {
		j.header, side = &x.Response.Header, 1
	}
	if (p == phaseRequestBody || p == phaseResponseBody) && !j.wants[side] {
		return body
	}
	if r := f.c.call(f.binding, j); r != packet.ReasonNone {
		if x.Instance.Fail == ppf.FailOpen {
			x.WouldRefuse(r)
		} else {
			x.Refuse(r, 502)
		}
	}
	body = j.body
	j.x, j.header, j.body = nil, nil, nil
	return body
}

// put writes the descriptor.
func (j *messageJob) put(b []byte, handle uint32, now int64) {
	x := j.x
	clear(b[:dStorage])
	le.PutUint32(b[dHandle:], handle)
	b[dPhase] = byte(j.phase)
	if j.phase.ofResponse() {
		b[dDir] = byte(ppf.ServerToClient)
		le.PutUint16(b[dStatus:], uint16(x.Response.Status()))
	}
	if x.TLS {
		b[dTLS] = 1
	}
	b[dMinor] = byte(x.Request.Minor())
	le.PutUint64(b[dNow:], uint64(now))
	le.PutUint32(b[dBodyLen:], uint32(len(j.body)))
	le.PutUint16(b[dClientPort:], x.Client.Port())
	le.PutUint16(b[dServerPort:], x.Server.Port())
	le.PutUint32(b[dFieldCount:], uint32(j.header.Len()))
	putAddress(b[dClient:], x.Client.Addr())
	putAddress(b[dServer:], x.Server.Addr())
	b[dVerdict] = verdictUnset
}

// refuse does what a drop means.
func (j *messageJob) refuse(r ppf.Reason, code uint16) { j.x.Refuse(r, int(code)) }

// text gives a part of the request's first line or its host, lent until the next
// call; ok is false for one that does not exist.
func (j *messageJob) text(what uint32) (b []byte, ok bool) {
	j.scratch = j.scratch[:0]
	r := j.x.Request
	switch what {
	case textMethod:
		j.scratch = r.AppendMethod(j.scratch)
	case textPath:
		j.scratch = r.AppendPath(j.scratch)
	case textQuery:
		j.scratch = r.AppendQuery(j.scratch)
	case textHost:
		j.scratch = r.AppendHost(j.scratch)
	case textAskedHost:
		name, _ := j.x.AskedHost()
		j.scratch = append(j.scratch, name...)
	default:
		return nil, false
	}
	return j.scratch, true
}

// field gives the value of the field of a name behind n others of it, lent until
// the next call.
func (j *messageJob) field(name []byte, n int) (value []byte, ok bool) {
	f := j.header.Nth(name, n)
	if f == nil {
		return nil, false
	}
	j.scratch = f.AppendValue(j.scratch[:0])
	return j.scratch, true
}

// fieldAt gives name and value of field i, lent until the next call.
func (j *messageJob) fieldAt(i int) (name, value []byte, ok bool) {
	if i < 0 || i >= j.header.Len() {
		return nil, nil, false
	}
	f := j.header.At(i)
	j.scratch = f.AppendName(j.scratch[:0])
	n := len(j.scratch)
	j.scratch = f.AppendValue(j.scratch)
	return j.scratch[:n], j.scratch[n:], true
}

// setStatus changes the response's status code.
func (j *messageJob) setStatus(code int) bool {
	return j.phase.ofResponse() && j.x.Response.SetStatus(code)
}

// inRequest says whether the request can be changed: it has not been sent.
func (j *messageJob) inRequest() bool { return !j.phase.ofResponse() }

// wantBody asks for the body of the message whose head is judged.
func (j *messageJob) wantBody(limit int, need bool) bool {
	side := 0
	switch j.phase {
	case phaseRequest:
	case phaseResponse:
		side = 1
	default:
		return false
	}
	j.wants[side] = true
	if limit = min(limit, maxBody); need {
		j.x.NeedBody(limit)
	} else {
		j.x.WantBody(limit)
	}
	return true
}

// setBody replaces the body that is judged.
func (j *messageJob) setBody(b []byte) bool {
	if j.phase != phaseRequestBody && j.phase != phaseResponseBody || len(b) > maxBody {
		return false
	}
	j.body = append(j.body[:0], b...)
	return true
}

// message lets the guest judge a message.
func (g *guest) message(b *binding, j *messageJob) error {
	if err := g.bind(b); err != nil {
		return err
	}
	g.stop, g.now = false, g.m.host.Env().Now()
	bytes, err := g.m.bytesOfCell(&j.cell, g.callMigrate)
	if err != nil {
		return err
	}
	d, err := g.descriptor()
	if err != nil {
		return err
	}
	j.put(d, b.handle, g.now)
	putStorage(d, bytes)
	g.job = j
	verdict, r, err := g.judgeSession(g.judgeMessage, bytes)
	g.job = nil
	if err != nil {
		return err
	}
	switch verdict {
	case byte(ppf.Accept):
	case byte(ppf.Drop):
		code, err := g.code()
		if err != nil {
			return err
		}
		j.refuse(r, code)
	default:
		return errVerdict(verdict)
	}
	return nil
}

// code is the status code that the guest has written for a refusal.
func (g *guest) code() (uint16, error) {
	d, err := g.descriptor()
	if err != nil {
		return 0, err
	}
	return le.Uint16(d[dCode:]), nil
}
