package http

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func (c *connection) note(f Defect, do ppf.Do) { c.link.note(f, do, &c.req) }

// counted counts the defects that were let through.
func (c *connection) counted(list []Defect, j *judge) {
	for _, f := range list {
		do := j.decide(f.Reason)
		c.note(f, do)
		if do == ppf.DoMonitor {
			c.suggest(f)
		}
	}
}

// suggest tells what strict would refuse, with the client, and the setting that
// keeps it allowed.
func (c *connection) suggest(f Defect) {
	info := f.Reason.Info()
	setting := c.setting(f)
	if setting == "" {
		setting = "none: the sender has to be mended"
	}
	name := f.fieldName()
	if name != "" {
		name = " of " + name
	}
	c.link.report("http: would refuse %s%s at octet %d (RFC %s), client %v, %s %s; setting: %s",
		info.Name, name, f.Offset, info.RFC, c.link.client, c.req.method, c.req.target.path, setting)
}

// fieldName is the name of the field that the defect concerns, "" where it
// concerns none.
func (f *Defect) fieldName() string {
	if f.field != unknownField {
		return fieldTable[f.field].name
	}
	return f.name.String()
}

// setting is what relaxes the reason, with the name that has to be listed.
func (f *Defect) setting(r *Request) string {
	s := f.Reason.Info().Relax
	if name := f.fieldName(); name != "" {
		return strings.Replace(s, "[…]", "["+name+"]", 1)
	}
	if f.Reason == ReasonMethod && r.allowed != nil {
		if m := r.Method(); m != strings.ToUpper(m) {
			return "" // methods are written in capitals
		}
		return strings.Replace(s, "GET, HEAD, …", strings.Join(append(slices.Clone(r.allowed), r.Method()), ", "), 1)
	}
	return s
}

// setting is what relaxes the reason, by the limits that are set.
func (c *connection) setting(f Defect) string { return c.p.raised(f.setting(&c.req), c.route) }

// refuse answers for a defect and ends the connection.
func (c *connection) refuse(f Defect, code int) {
	info := f.Reason.Info()
	c.req.framing.close, c.refused = true, true
	c.note(f, ppf.DoRefuse)
	relax := c.setting(f)
	if relax == "" {
		relax = "none"
	}
	c.link.report("http: refused %s at octet %d (RFC %s), client %v; setting: %s", info.Name, f.Offset, info.RFC, c.link.client, relax)
	if f.Reason == c.x.refused.Reason {
		code = c.x.code
	}
	if code == 0 {
		if code = status[f.Reason]; code == 0 {
			code = 400
			if c.answering {
				code = 502
			}
		}
	}
	if c.started {
		c.abort()
		return
	}
	var allow []string
	if c.route != nil {
		allow = c.route.Methods
	}
	c.out.b = c.out.b[:0]
	c.out.page(code, c.req.isMethod("HEAD"), ppf.Wall(c.link.env), allow)
	if c.writeClient(c.out.b) == nil {
		c.linger()
	}
}

// abort ends the client's connection so that no message on it looks complete.
func (c *connection) abort() { ppf.Abort(c.in.conn) }

// lingerOctets is how much of a refused request is read after its answer.
const lingerOctets = 256 << 10

// linger lets the client read the answer before the connection is closed: a
// reset, which octets that nobody reads would cause, could overtake it (RFC 9112
// §9.6).
func (c *connection) linger() {
	half, ok := c.in.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.in.conn.SetReadDeadline(later(c.link.env, lingerTime)) != nil {
		return
	}
	c.in.free()
	c.in.buf = getBuffer(smallBuffer)
	for n := 0; n < lingerOctets; {
		m, err := c.in.conn.Read(c.in.buf)
		if err != nil {
			return
		}
		n += m
	}
}

// clientDefect tells what an error while reading the client's body means; a
// client that is gone gets no answer, but the defect is counted.
func clientDefect(err error, d *defects) Defect {
	switch {
	case err == errBroken:
		return d.fatal
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Defect{Reason: ReasonSlowBody}
	}
	return Defect{Reason: ReasonBodyCut}
}

// serverDefect tells what an error of the server's connection means.
func serverDefect(err error, some bool) Defect {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Defect{Reason: ReasonServerSilent}
	case some:
		return Defect{Reason: ReasonAnswerCut}
	case err == io.EOF || err != nil:
		return Defect{Reason: ReasonServerClosed}
	}
	return Defect{Reason: packet.ReasonNone}
}
