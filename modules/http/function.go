package http

import (
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Function is a message function bound to a proxy instance: it looks at each
// request and response of http and may change or refuse it. A module registers
// it as a ppf.UserFunction of level message whose BindMessage returns one. It is
// called by many connections at once, for one exchange by one goroutine.
//
// The functions of a chain see a request in the chain's order, and a response in
// the opposite one. A panic costs that exchange.
type Function interface {
	// Request runs when a request's head was parsed and found good. Its path and
	// host are what will be sent, not what was received.
	Request(x *Exchange)
	// Response runs when the head of the final response was parsed.
	Response(x *Exchange)
}

// RequestBodyFunction is a Function that judges or changes bodies of requests.
type RequestBodyFunction interface {
	Function
	// RequestBody gets the whole body of a request for which a function called
	// WantBody or NeedBody, and returns what is sent in its place. It may change
	// body. It is not called for a request without one.
	RequestBody(x *Exchange, body []byte) []byte
}

// BodyFunction is a Function that changes bodies of responses.
type BodyFunction interface {
	Function
	// Body gets the whole body of a response for which Response called WantBody,
	// and returns what is sent in its place. It may change body.
	Body(x *Exchange, body []byte) []byte
}

// Exchange is a request and its response on their way through the message
// functions. It is lent for one call.
type Exchange struct {
	Request  *Request
	Response *Response // nil while the request is handled
	Instance *ppf.ProxyInstance
	Client   netip.AddrPort
	Server   netip.AddrPort
	TLS      bool // between the client and us
	// State is what the function that is called keeps with the client's
	// connection; nil at first.
	State *any

	asked    host
	refused  Defect
	code     int
	note     func(Defect, ppf.Do)
	do       func(ppf.Reason) ppf.Do
	report   func(format string, args ...any)
	wantBody int
	needBody bool
}

// AskedHost gives the host that the client asked for, whatever functions made
// of it, and its port, 0 where it names none.
func (x *Exchange) AskedHost() (name string, port uint16) { return x.asked.name.String(), x.asked.port }

// Refuse ends the exchange with a reason: the client gets a small page of ours
// with the status code, from 400 to 599 (else 403), and the connection ends. The
// instance's mode or an override may let the message pass instead, counted as
// would-drop.
func (x *Exchange) Refuse(r ppf.Reason, code int) {
	switch x.do(r) {
	case ppf.DoMonitor:
		x.note(Defect{Reason: r}, ppf.DoMonitor)
		return
	case ppf.DoRepair:
		if r.Info().Class == packet.Refused {
			x.note(Defect{Reason: r}, ppf.DoMonitor)
			return
		}
	}
	if x.refused.Reason == packet.ReasonNone {
		if code < 400 || code > 599 {
			code = 403
		}
		x.refused, x.code = Defect{Reason: r}, code
	}
}

// Finding counts a reason for something that has one safe meaning. It reports
// true where strict mode or an override refuses it, as Refuse does with code; else
// the function mends the thing.
func (x *Exchange) Finding(r ppf.Reason, code int) (stop bool) {
	do := x.do(r)
	if do == ppf.DoRefuse {
		x.Refuse(r, code)
		return true
	}
	x.note(Defect{Reason: r}, do)
	return false
}

// Repaired counts a reason for something that the function changed.
func (x *Exchange) Repaired(r ppf.Reason) { x.note(Defect{Reason: r}, ppf.DoRepair) }

// WouldRefuse counts a reason as would-drop and changes nothing.
func (x *Exchange) WouldRefuse(r ppf.Reason) { x.note(Defect{Reason: r}, ppf.DoMonitor) }

// Report says something in the event stream, limited in rate per instance.
func (x *Exchange) Report(format string, args ...any) { x.report(format, args...) }

// WantBody asks for the whole body of at most limit octets: in Request for that
// of the request, in Response for that of the response. A longer one passes
// unseen. It is for functions that take bodies.
func (x *Exchange) WantBody(limit int) { x.wantBody = max(x.wantBody, limit) }

// NeedBody is WantBody for functions that judge: a body that is longer, or that
// the buffers of the instance have no room for, is refused.
func (x *Exchange) NeedBody(limit int) {
	x.WantBody(limit)
	x.needBody = true
}
