package http

import (
	"bufio"
	"bytes"
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func explainer(mode ppf.Mode) *Explainer {
	cfg := DefaultConfig()
	cfg.Via, cfg.Forwarded = false, false
	r := &rig{mode: mode}
	return &Explainer{Config: cfg, Mode: mode, Do: r.do, Env: liveEnv{}}
}

// agree compares what we send in place of raw with what others read in raw and in
// what we send. Whatever we accept, they must accept.
func agree(t *testing.T, raw, sent []byte) {
	t.Helper()
	in, err := parseReference(raw)
	if err != nil {
		t.Fatalf("%q is accepted (as %q), and the reference refuses it", raw, sent)
	}
	out, err := parseReference(sent)
	if err != nil || out.rest != "" {
		t.Fatalf("%q for %q is no request, or has a rest, for the reference", sent, raw)
	}
	if in.method != out.method || in.body != out.body {
		t.Fatalf("%q for %q: the reference reads method %q and body %q, in what came %q and %q", sent, raw, out.method, out.body, in.method, in.body)
	}
	raw = bytes.TrimPrefix(raw, []byte("\r\n"))
	a, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		if netStricter(err) {
			return
		}
		t.Fatalf("%q is accepted (as %q), and net/http refuses it: %v", raw, sent, err)
	}
	b, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(sent)))
	if err != nil {
		t.Fatalf("%q for %q: net/http: %v", sent, raw, err)
	}
	bodyA, errA := io.ReadAll(a.Body)
	bodyB, errB := io.ReadAll(b.Body)
	if errA != nil || errB != nil || !bytes.Equal(bodyA, bodyB) {
		t.Fatalf("%q for %q: net/http reads body %q, %v, in what came %q, %v", sent, raw, bodyB, errB, bodyA, errA)
	}
	host := a.Host
	if host == "" {
		host = "192.0.2.2:80" // the server's address is written where none is named
	}
	if a.Method != b.Method || !strings.EqualFold(strings.TrimSuffix(host, ":80"), strings.TrimSuffix(b.Host, ":80")) && a.URL.Host == "" {
		t.Fatalf("%q for %q: net/http reads %s %s, in what came %s %s", sent, raw, b.Method, b.Host, a.Method, a.Host)
	}
	if a.URL.RawQuery != b.URL.RawQuery {
		t.Fatalf("%q for %q: net/http reads query %q, in what came %q", sent, raw, b.URL.RawQuery, a.URL.RawQuery)
	}
	for _, name := range []string{"Accept", "Authorization", "User-Agent", "Content-Type"} {
		if x, y := in.field(name), out.field(name); len(y) > 0 && strings.Join(x, "\n") != strings.Join(y, "\n") {
			t.Fatalf("%q for %q: field %s is %q, and was %q", sent, raw, name, y, x)
		}
	}
}

// netStricter lists what net/http refuses although RFC 3986 and 9112 allow it.
func netStricter(err error) bool {
	return strings.Contains(err.Error(), "invalid URI for request") || strings.Contains(err.Error(), "parse ") // url.Parse has rules of its own for "//" and ":"
}

// addRequests gives the table to a fuzz target.
func addRequests(f *testing.F) {
	for _, c := range readTable(f, "testdata/requests.txt") {
		if len(c.sent) < 1000 {
			f.Add([]byte(c.sent))
		}
	}
}

// FuzzRequest: of what we accept, a common parser and a strict one read the same,
// in what came and in what we send.
func FuzzRequest(f *testing.F) {
	addRequests(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		input := bytes.Clone(raw)
		x, err := explainer(ppf.Repair).Request(raw)
		if err != nil {
			t.Fatal(err)
		}
		if x.Verdict == "refused" {
			if len(x.Sent) > 0 {
				t.Fatalf("%q is refused (%v), and %q was sent", input, x.Findings, x.Sent)
			}
			return
		}
		if len(x.Sent) == 0 {
			return // the client ended between messages
		}
		agree(t, input, x.Sent)
	})
}

// FuzzParsePieces: a request is read the same however it is cut.
func FuzzParsePieces(f *testing.F) {
	for _, c := range readTable(f, "testdata/requests.txt") {
		if len(c.sent) < 1000 {
			f.Add([]byte(c.sent), 1)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		e := explainer(ppf.Repair)
		whole, _ := e.Request(bytes.Clone(raw))
		size = max(size&0xff, 1)
		client, server := &tape{in: bytes.Clone(raw), piece: size}, &tape{}
		pieces, _ := e.run(client, server, server, nil)
		if whole.Verdict != pieces.Verdict || !bytes.Equal(whole.Sent, pieces.Sent) {
			t.Fatalf("%q in pieces of %d: %s %q %v, at once %s %q %v", raw, size,
				pieces.Verdict, pieces.Sent, pieces.Findings, whole.Verdict, whole.Sent, whole.Findings)
		}
	})
}

// FuzzResponse: what we send in place of a response is one that net/http reads
// whole, or it does not look complete, and with the same status and body.
func FuzzResponse(f *testing.F) {
	for _, c := range readTable(f, "testdata/responses.txt") {
		if len(c.sent) < 1000 {
			f.Add([]byte(c.sent))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		input := bytes.Clone(raw)
		x, err := explainer(ppf.Repair).Response(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Sent) == 0 {
			return
		}
		get := &nethttp.Request{Method: "GET"}
		sent := bufio.NewReader(bytes.NewReader(x.Sent))
		b, err := finalResponse(sent, get)
		if err != nil {
			if x.Verdict == "refused" {
				return
			}
			t.Fatalf("%q for %q: %v", x.Sent, input, err)
		}
		body, err := io.ReadAll(b.Body)
		if x.Verdict == "refused" {
			if err == nil && b.StatusCode != 502 {
				t.Fatalf("%q for %q is refused (%v) and looks complete", x.Sent, input, x.Findings)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q for %q: body: %v", x.Sent, input, err)
		}
		a, err := finalResponse(bufio.NewReader(bytes.NewReader(input)), get)
		if err != nil {
			return // repaired
		}
		if a.StatusCode != b.StatusCode {
			t.Fatalf("%q for %q: status %d, in what came %d", x.Sent, input, b.StatusCode, a.StatusCode)
		}
		if was, err := io.ReadAll(a.Body); err == nil && !bytes.Equal(was, body) && a.StatusCode != 205 {
			t.Fatalf("%q for %q: body %q, in what came %q", x.Sent, input, body, was)
		}
	})
}

func finalResponse(r *bufio.Reader, req *nethttp.Request) (*nethttp.Response, error) {
	for {
		res, err := nethttp.ReadResponse(r, req)
		if err != nil || res.StatusCode >= 200 {
			return res, err
		}
	}
}

// FuzzChunks: a decoder that gets octets in pieces gives what it gives at once,
// and what it gives is what the reference reads.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "1\r\na\r\n00\r\nX: y\r\n\r\n", "5;a\r\nhello\r\n0\r\n\r\n", "2\r\nokX", "fffffffff\r\n"} {
		f.Add([]byte(s), 1)
	}
	l := &limits{fields: 10, field: 100, head: 1000}
	decode := func(raw []byte, size int) (body []byte, done, good bool) {
		var c chunks
		var d defects
		c.reset(&requestChunks, l, 0)
		raw = bytes.Clone(raw)
		for from, to := 0, min(size, len(raw)); ; {
			used, data, ok := c.step(raw[from:to], &d)
			if !ok || len(d.list) > 0 {
				return body, false, false
			}
			body = append(body, data...)
			from += used
			if c.state == chunksDone {
				return body, true, true
			}
			if used == 0 {
				if to == len(raw) {
					return body, false, true
				}
				to = min(to+size, len(raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		size = max(size&0xff, 1)
		whole, done, good := decode(raw, len(raw))
		pieces, doneP, goodP := decode(raw, size)
		if done != doneP || good != goodP || good && !bytes.Equal(whole, pieces) {
			t.Fatalf("%q in pieces of %d: %q %v %v, at once %q %v %v", raw, size, pieces, doneP, goodP, whole, done, good)
		}
		if done {
			body, _, err := refChunked(latin1(raw))
			if err != nil || !bytes.Equal(octetsOf(body), whole) {
				t.Fatalf("%q: got %q, the reference reads %q, %v", raw, whole, body, err)
			}
		}
	})
}

// FuzzFrames: a frame's head that is accepted is the one that is written, in its
// shortest form, and masked anew reads the same.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x85\x01\x02\x03\x04hello"), true)
	f.Add([]byte("\x82\x7e\x01\x00"), false)
	f.Add([]byte("\x88\x02\x03\xe8"), false)
	f.Fuzz(func(t *testing.T, raw []byte, masked bool) {
		d := frameDecoder{masked: masked, limit: 1 << 40}
		fr, n, r := d.head(raw)
		if r != packet.ReasonNone && n > 0 {
			t.Fatalf("%x: refused with %v, and %d octets used", raw, r, n)
		}
		if n == 0 {
			return
		}
		if got := appendFrame(nil, fr, masked); !bytes.Equal(got, raw[:n]) {
			t.Fatalf("%x: written as %x", raw[:n], got)
		}
		data := bytes.Clone(raw[n:])
		applyMask(data, fr.mask, 3)
		applyMask(data, fr.mask, 3)
		if !bytes.Equal(data, raw[n:]) {
			t.Fatal("unmasking does not undo masking")
		}
	})
}
