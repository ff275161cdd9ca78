package http

import (
	"bytes"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// policy is Config compiled for one instance; it does not change.
type policy struct {
	cfg    Config
	limits limits
	base   route
	routes []route
}

// route is one Route compiled; the base has neither host nor path.
type route struct {
	host, path string
	Policy
	choices  [numTraits]Choice
	request  fieldSet
	response fieldSet
	trailers fieldSet
}

// fieldSet is a set of known fields, and of others by name.
type fieldSet struct {
	known [256]bool
	other []string
}

func (s *fieldSet) has(f *Field) bool {
	if f.id != unknownField {
		return s.known[f.id]
	}
	for _, n := range s.other {
		if foldEqual(f.name.b, n) {
			return true
		}
	}
	return false
}

func (s *fieldSet) add(name string) {
	if id := fieldByName(name); id != unknownField {
		s.known[id] = true
	} else {
		s.other = append(s.other, name)
	}
}

// newPolicy compiles validated settings.
func newPolicy(c *Config) (*policy, error) {
	routes, err := c.resolve()
	if err != nil {
		return nil, err
	}
	p := &policy{cfg: *c, limits: limits{c.MaxFields, c.MaxField, c.MaxHead, c.MaxTarget, c.MaxRanges, c.MaxInformational}}
	p.base = compileRoute(&Route{Policy: c.Policy})
	for i := range routes {
		p.routes = append(p.routes, compileRoute(&routes[i]))
	}
	return p, nil
}

func compileRoute(r *Route) route {
	c := route{host: r.Host, path: r.Path, Policy: r.Policy}
	c.choices = [numTraits]Choice{r.EncodedSlash, r.Backslash, r.EncodedPercent, r.DoubleSlash, r.DotSegments}
	for id, f := range fieldTable {
		c.request.known[id] = f.flags&ofRequest != 0 && f.flags&(hopByHop|ofUs) == 0
		c.response.known[id] = f.flags&ofResponse != 0 && f.flags&(hopByHop|ofUs|ofServer) == 0
	}
	for _, f := range r.Fields {
		c.request.add(f)
		c.response.add(f)
	}
	for _, f := range r.Trailers {
		c.trailers.add(f)
	}
	return c
}

// find gives the first route that fits.
func (p *policy) find(host, path []byte) *route {
	for i := range p.routes {
		r := &p.routes[i]
		if r.host != "" && r.host != string(host) {
			continue
		}
		if prefix := r.path; prefix != "" {
			if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
				continue
			}
			if len(path) > len(prefix) && prefix[len(prefix)-1] != '/' && path[len(prefix)] != '/' {
				continue
			}
		}
		return r
	}
	return &p.base
}

// route finds the request's route and makes its path what that says. A path
// that belongs to another route afterwards has two meanings.
func (p *policy) route(r *Request) *route {
	before := r.target.path
	found := p.find(r.host.name.b, before)
	r.choose(&found.choices)
	after := p.find(r.host.name.b, r.target.path)
	if after != found && after.choices != found.choices {
		r.defects.fail(ReasonTargetRoute, r.targetAt)
	}
	return after
}

// requestRules applies what a route says of a request that was parsed.
func (p *policy) requestRules(r *Request, rt *route, strict bool) {
	d := &r.defects
	allowed := false
	r.allowed = rt.Methods
	for _, m := range rt.Methods {
		allowed = allowed || r.isMethod(m)
	}
	if !allowed {
		d.found(ReasonMethod, 0)
	}
	if r.framing.length > rt.MaxBody {
		d.fail(ReasonLengthBig, int(r.framing.lengthSeen.at))
	}
	p.upgrade(r, rt)
	p.allow(&r.Header, d, &rt.request, rt.Unknown, strict, r.websocket)
}

// upgrade decides about Upgrade: websocket (RFC 6455 §4.2.1), and drops every
// other one together with what goes with it.
func (p *policy) upgrade(r *Request, rt *route) {
	f := r.find(fieldUpgrade, "")
	if f == nil {
		if settings := r.find(fieldHTTP2Settings, ""); settings != nil {
			r.defects.foundIn(ReasonUpgrade, settings)
		}
		return
	}
	if !rt.WebSocket || !r.framing.upgrade || r.minor == 0 || !foldEqual(f.value.b, "websocket") {
		r.defects.foundIn(ReasonUpgrade, f)
		return
	}
	key := r.find(fieldSecWebSocketKey, "")
	version := r.find(fieldSecWebSocketVersion, "")
	if !r.isMethod("GET") || key == nil || len(key.value.b) != 24 || version == nil || string(version.value.b) != "13" || r.framing.body != BodyNone {
		r.defects.fail(ReasonWebSocket, int(f.at))
		return
	}
	r.websocket = true
	if !rt.WebSocketExtensions {
		r.Del("Sec-WebSocket-Extensions")
	}
}

// allow keeps the fields that a route's list has and decides about the others.
func (p *policy) allow(h *Header, d *defects, set *fieldSet, unknown Unknown, strict, websocket bool) {
	if unknown == UnknownByMode {
		unknown = UnknownPass
		if strict {
			unknown = UnknownDrop
		}
	}
	h.markNamed()
	kept := h.fields[:0]
	for i := range h.fields {
		f := &h.fields[i]
		flags := fieldTable[f.id].flags
		switch {
		case f.named && flags&ofUs == 0:
			continue
		case set.has(f):
			if !websocket && f.id >= fieldSecWebSocketKey && f.id <= fieldSecWebSocketExtensions {
				continue
			}
			if !validTyped(f, flags) {
				d.foundIn(ReasonFieldValue, f)
				continue
			}
		case flags&(hopByHop|ofUs|ofServer) != 0:
			continue
		case flags&ofNobody != 0, f.id == unknownField && bytes.IndexByte(f.name.b, '_') >= 0:
			d.foundIn(ReasonFieldTrust, f)
			continue
		case f.id != unknownField || unknown == UnknownPass:
			d.foundIn(ReasonFieldPass, f)
		case unknown == UnknownDrop:
			d.foundIn(ReasonFieldDrop, f)
			continue
		default:
			d.foundIn(ReasonFieldUnk, f)
			continue
		}
		kept = append(kept, *f)
	}
	h.fields = kept
}

// validTyped checks what a field's type demands. Expires may be any text that
// is no date, which means expired (RFC 9111 §5.3).
func validTyped(f *Field, flags uint16) bool {
	switch {
	case flags&isNumber != 0:
		_, ok := digits(f.value.b)
		return ok
	case flags&isURI != 0:
		return len(f.value.b) > 0 && firstNot(f.value.b, inVisible) < 0
	case flags&isDate != 0:
		if isWritten(f.value.b) {
			return true
		}
		t, ok := parseDate(f.value.b)
		switch {
		case ok:
			var printed [len(httpDateWritten)]byte
			if b := t.AppendFormat(printed[:0], httpDateWritten); string(b) != string(f.value.b) {
				f.value = Text{[]byte(string(b))}
			}
		case len(f.value.b) > 0 && f.value.b[0] == '0' || string(f.value.b) == "-1":
			f.value = Text{[]byte("0")}
			return fieldTable[f.id].name == "Expires"
		}
		return ok
	}
	return true
}

// responseRules applies what a route says of a response that was parsed.
func (p *policy) responseRules(r *Response, rt *route, strict, websocket bool) {
	p.allow(&r.Header, &r.defects, &rt.response, rt.Unknown, strict, websocket)
	if websocket && !rt.WebSocketExtensions {
		r.Del("Sec-WebSocket-Extensions")
	}
}

// judge decides about defects, in the order in which they were found.
type judge struct {
	do   func(ppf.Reason, ppf.Mode) ppf.Do // the instance's overrides, then the mode
	mode ppf.Mode                          // of the instance, or of the route
}

// decide says what becomes of a defect that has another reading.
func (j *judge) decide(r ppf.Reason) ppf.Do {
	if r.Info().Class == packet.Rewritten {
		return ppf.DoRepair // normal business, the same in every mode
	}
	return j.do(r, j.mode)
}

// verdict gives the defect that a message is refused for; its Reason is none
// where the message goes on.
func (j *judge) verdict(d *defects) Defect {
	for _, f := range d.list {
		if j.decide(f.Reason) == ppf.DoRefuse {
			return f
		}
	}
	return d.fatal
}

// later is a time from now on.
func later(env ppf.Env, d time.Duration) time.Time { return time.Unix(0, env.Now()).Add(d) }
