package stream

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/promethos/promethos/config"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
)

// clock is an Env of a machine as far as streams without packets ask.
type clock struct{ ppf.Env }

func (clock) Now() int64 { return 1e9 }

// asker is a Transparent for connections to servers on the loopback interface.
func asker(t *testing.T, ends ppf.Ends) (*Transparent, *ppf.Engine) {
	t.Helper()
	e, err := ppf.New(ppf.Options{Env: clock{ppf.DryEnv()}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := config.Parse("test.yaml", []byte("version: 1\ninstances:\n  - {name: front, match: {protocol: tcp, server: [127.0.0.1, '::1'], port: 1-65535}, chain: [relay], others: refuse}\n"))
	for _, p := range problems {
		if !p.Warning {
			t.Fatal(p)
		}
	}
	if _, err := e.Apply(spec); err != nil {
		t.Fatal(err)
	}
	tr, err := OpenTransparent(e, Marks{}, 1)
	if errors.Is(err, ErrNoTransparent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	tr.accepting = func(netip.AddrPort, netip.AddrPort) *ppf.Ends { return &ends }
	t.Cleanup(func() {
		tr.Close()
		e.Close(t.Context())
	})
	return tr, e
}

// asked lets a SYN wait for its server and gives what it is told.
func asked(tr *Transparent, client, server netip.AddrPort) Answer {
	told := make(chan Answer, 1)
	tr.Ask(client, server, true, func(a Answer) { told <- a })
	return <-told
}

// counted is how often a reason led to a drop.
func counted(e *ppf.Engine, reason ppf.Reason) (n uint64) {
	for _, c := range e.ReasonCounts() {
		if c.Reason == reason.String() && c.Instance == "front" {
			n += c.Count
		}
	}
	return n
}

func listen(t *testing.T, address string) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no address %s: %v", address, err)
	}
	t.Cleanup(func() { l.Close() })
	return l, endpoint(l.Addr())
}

// free is a port that was free a moment ago.
func free(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	l, a := listen(t, address)
	l.Close()
	return a
}

// TestHandshake: a SYN is admitted when the server has accepted a connection from the
// client's own address and port, and that connection waits for the session.
func TestHandshake(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		tr, e := asker(t, ppf.Ends{Instance: "front", Honest: true, Pending: 2})
		l, server := listen(t, address)
		client := free(t, address)
		if got := asked(tr, client, server); got != Admit {
			t.Fatalf("%s: a server that accepts: got answer %d, want %d", address, got, Admit)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := endpoint(c.RemoteAddr()); got != client {
			t.Errorf("the server sees %v, want %v", got, client)
		}
		if got := asked(tr, client, server); got != Admit {
			t.Errorf("%s: the SYN again: got answer %d, want %d", address, got, Admit)
		}
		// One of two is the client's share.
		if got := asked(tr, free(t, address), server); got != Silence || counted(e, ppf.ReasonClientPending) != 1 {
			t.Errorf("%s: one more of the client: got answer %d, %d counted", address, got, counted(e, ppf.ReasonClientPending))
		}
		key := tuple{client, server}
		up := &upstream{t: tr, key: key, ends: tr.accepting(client, server), zoned: true, waiting: tr.claim(key)}
		first, err := up.dial(t.Context())
		if err != nil || endpoint(first.LocalAddr()) != client {
			t.Fatalf("%s: the first connection: %v, %v", address, first, err)
		}
		defer first.Close()
		// The client's port is taken: the next one has another of its address.
		second, err := up.dial(t.Context())
		if err != nil || endpoint(second.LocalAddr()).Addr() != client.Addr() || endpoint(second.LocalAddr()) == client {
			t.Fatalf("%s: the second connection: %v, %v", address, second, err)
		}
		defer second.Close()
		if got := asked(tr, free(t, address), free(t, address)); got != Reset || counted(e, ppf.ReasonUnreachable) != 1 {
			t.Errorf("%s: a server that refuses: got answer %d, %d counted", address, got, counted(e, ppf.ReasonUnreachable))
		}
		if n := len(tr.byServer) + len(tr.byClient) + len(tr.waiting) + len(tr.asking); n > 0 {
			t.Errorf("%s: %d entries are left", address, n)
		}
	}
}

// TestHandshakePending: what waits for its client counts as coming about, for functions
// that connect later, too. A client that comes takes the place of one that has not, and
// where none waits there is no place.
func TestHandshakePending(t *testing.T) {
	tr, e := asker(t, ppf.Ends{Instance: "front", Honest: true, Pending: 1})
	l, server := listen(t, "127.0.0.1")
	if got := asked(tr, free(t, "127.0.0.1"), server); got != Admit {
		t.Fatalf("got answer %d, want %d", got, Admit)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := free(t, "127.0.0.1")
	if got := asked(tr, client, server); got != Admit || counted(e, ppf.ReasonPendingUnasked) != 1 {
		t.Errorf("beyond the limit: got answer %d, %d counted", got, counted(e, ppf.ReasonPendingUnasked))
	}
	up := &upstream{t: tr, key: tuple{client, server}, ends: tr.accepting(client, server)}
	own, err := up.dial(t.Context())
	if err != nil || counted(e, ppf.ReasonUnclaimed) != 1 {
		t.Fatalf("a client that has come: got %v, %d gave way", err, counted(e, ppf.ReasonUnclaimed))
	}
	defer own.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection that gave way: got %v, want a reset", err)
	}
	if n := len(tr.byServer) + len(tr.waiting) + len(tr.oldest); n > 0 {
		t.Errorf("%d entries are left", n)
	}
	if err := tr.enter(tuple{client, server}, up.ends); err != nil {
		t.Fatal(err)
	}
	if got := asked(tr, free(t, "127.0.0.1"), server); got != Silence || counted(e, ppf.ReasonPending) != 1 {
		t.Errorf("while another one is coming about: got answer %d, %d counted", got, counted(e, ppf.ReasonPending))
	}
	if _, err := up.dial(t.Context()); !errors.Is(err, ErrPending) || counted(e, ppf.ReasonPending) != 2 {
		t.Errorf("while another one is coming about: got %v, %d counted, want ErrPending", err, counted(e, ppf.ReasonPending))
	}
	tr.leave(tuple{client, server})
	if got := asked(tr, free(t, "127.0.0.1"), server); got != Admit {
		t.Fatalf("got answer %d, want %d", got, Admit)
	}
	if _, err := l.Accept(); err != nil { // that of the client that has come
		t.Fatal(err)
	}
	last, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	tr.Close()
	if _, err := last.Read(make([]byte, 1)); err == nil {
		t.Error("a connection whose client did not come goes on")
	}
	if got := asked(tr, client, server); got != Silence {
		t.Errorf("after Close: got answer %d, want %d", got, Silence)
	}
}
