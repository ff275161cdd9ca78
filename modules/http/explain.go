package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Explanation tells what becomes of a message.
type Explanation struct {
	// Verdict is "sent", "repaired" or "refused".
	Verdict string `json:"verdict"`
	// Findings are what was found, in order. A refusal is the last.
	Findings []Finding `json:"findings"`
	// Sent are the octets that go on. For a refused message they are what goes on
	// before that is known, which is never a whole message.
	Sent []byte `json:"sent"`
	// Answer is what the client gets in place of a refused request's response.
	Answer []byte `json:"answer,omitempty"`
	// Behind is how many octets follow a request that is sent: the next one. Behind a
	// body that is longer than the buffer they are not counted.
	Behind int `json:"behind,omitempty"`
}

// Finding is one thing found in a message.
type Finding struct {
	Reason  string `json:"reason"`
	Action  string `json:"action"` // "refused", "repaired", "would-refuse"
	Offset  int64  `json:"offset"`
	Field   string `json:"field,omitempty"`
	RFC     string `json:"rfc,omitempty"`
	Doc     string `json:"doc"`
	Setting string `json:"setting,omitempty"` // that relaxes it
}

// NewExplainer explains messages in mode repair with the default settings, and
// without the fields that tell of us. It is for tests of message functions.
func NewExplainer(functions ...Function) *Explainer {
	c := DefaultConfig()
	c.Via, c.Forwarded = false, false
	return &Explainer{Config: c, Do: (&ppf.ProxyInstance{}).Do, Env: ppf.DryEnv(), Functions: functions}
}

// Explainer explains messages as an instance would treat them.
type Explainer struct {
	Config *Config
	Mode   ppf.Mode
	// Do decides as the instance's mode and overrides do.
	Do func(ppf.Reason, ppf.Mode) ppf.Do
	// Env is the clock and randomness.
	Env ppf.Env
	// Functions are the message functions of the chain; a test of one gives it.
	Functions []Function
}

// Request explains the first request in raw. The error is a wrong Config.
func (e *Explainer) Request(raw []byte) (*Explanation, error) {
	client, server := &tape{in: raw}, &tape{}
	return e.run(client, server, server, nil)
}

// Response explains a server's answer to a request, GET / where that is nil.
func (e *Explainer) Response(request, raw []byte) (*Explanation, error) {
	if request == nil {
		request = []byte("GET / HTTP/1.1\r\nHost: server.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
	}
	client, server := &tape{in: request}, &tape{in: raw}
	return e.run(client, server, client, raw)
}

// run lets the same code that serves connections handle two tapes; out is the
// one whose octets go on.
func (e *Explainer) run(client, server, out *tape, response []byte) (*Explanation, error) {
	if err := e.Config.Validate(); err != nil {
		return nil, err
	}
	p, err := newPolicy(e.Config)
	if err != nil {
		return nil, err
	}
	x := &Explanation{Verdict: "sent", Findings: []Finding{}}
	var mu sync.Mutex
	note := func(f Defect, do ppf.Do, r *Request) {
		mu.Lock()
		defer mu.Unlock()
		if response == nil && server.dialled && (f.Reason == ReasonServerClosed || f.Reason == ReasonServerDown) {
			return // there is no server to answer
		}
		x.add(f, do, p.raised(f.setting(r), p.route(r)))
	}
	serve(link{
		conn: client, client: netip.MustParseAddrPort("192.0.2.1:1024"), server: netip.MustParseAddrPort("192.0.2.2:80"), env: e.Env,
		mode: e.Mode, do: e.Do, behind: func(n int) { x.Behind = n + len(client.in) }, note: note, functions: e.Functions, report: func(string, ...any) {},
		dial: func(context.Context) (net.Conn, error) {
			if server.dialled {
				return nil, fmt.Errorf("one message is explained: %w", io.EOF)
			}
			server.dialled = true
			return server, nil
		},
	}, p, &budget{limit: e.Config.BufferTotal})
	x.Sent = out.out.Bytes()
	if x.Verdict == "refused" && response == nil {
		x.Answer = client.out.Bytes()
	}
	if x.Verdict == "refused" && response != nil && bytes.HasPrefix(x.Sent, []byte("HTTP/1.1 502 ")) {
		x.Answer, x.Sent = x.Sent, nil
	}
	return x, nil
}

func (x *Explanation) add(f Defect, do ppf.Do, setting string) {
	info := f.Reason.Info()
	out := Finding{Reason: info.Name, Offset: f.Offset, Field: f.fieldName(), RFC: info.RFC, Doc: info.Doc, Setting: setting, Action: "repaired"}
	switch {
	case do == ppf.DoRefuse:
		out.Action, x.Verdict = "refused", "refused"
	case do == ppf.DoMonitor:
		out.Action = "would-refuse"
	}
	if x.Verdict == "sent" {
		x.Verdict = "repaired"
	}
	x.Findings = append(x.Findings, out)
}

// tape is a connection to nobody: what is read was written before, and what is
// written is kept.
type tape struct {
	in      []byte
	piece   int // how much is read at once; 0: any
	out     bytes.Buffer
	dialled bool
}

func (t *tape) Read(b []byte) (int, error) {
	if len(t.in) == 0 {
		return 0, io.EOF
	}
	if t.piece > 0 {
		b = b[:min(len(b), t.piece)]
	}
	n := copy(b, t.in)
	t.in = t.in[n:]
	return n, nil
}

func (t *tape) Write(b []byte) (int, error)      { return t.out.Write(b) }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
