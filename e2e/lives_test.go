package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// seen is what a captured segment says.
type seen struct {
	seq, ack packet.Seq
	flags    packet.TCPFlags
	window   uint16
	payload  int
}

func seenIn(frame []byte) (s seen, ok bool) {
	ip, tcp, ok := segment(frame)
	if !ok {
		return s, false
	}
	length := int(binary.BigEndian.Uint16(ip[2:])) - int(ip[0]&15)*4
	if ip[0]>>4 == 6 {
		length = int(binary.BigEndian.Uint16(ip[4:]))
	}
	return seen{
		packet.Seq(binary.BigEndian.Uint32(tcp[4:])), packet.Seq(binary.BigEndian.Uint32(tcp[8:])), packet.TCPFlags(tcp[13]),
		binary.BigEndian.Uint16(tcp[14:]), length - int(tcp[12]>>4)*4,
	}, true
}

// pairThrough gives both ends of a connection through the proxy.
func pairThrough(t *testing.T, l *lab.Lab, listener net.Listener, network string) (client, server *net.TCPConn) {
	t.Helper()
	client = must(l.Client.Dial(within(t, patience), network, listener.Addr().String()))(t).(*net.TCPConn)
	server = must(listener.Accept())(t).(*net.TCPConn)
	for _, c := range []*net.TCPConn{client, server} {
		t.Cleanup(func() { c.Close() })
		check(t, c.SetDeadline(time.Now().Add(patience)))
	}
	return client, server
}

// carries sends a word over a connection.
func carries(t *testing.T, from, to net.Conn, word string) {
	t.Helper()
	must(from.Write([]byte(word)))(t)
	buffer := make([]byte, len(word))
	if _, err := io.ReadFull(to, buffer); err != nil || string(buffer) != word {
		t.Fatalf("got %q, %v; want %q", buffer, err, word)
	}
}

// TestSimultaneousOpen lets two kernels open one connection from both sides: each
// has sent its SYN before it gets the other's.
func TestSimultaneousOpen(t *testing.T) {
	need(t, "nft")
	l := up(t, lab.Options{})
	hold := filepath.Join(t.TempDir(), "hold.nft")
	write(t, hold, "table inet hold {\n\tchain in {\n\t\ttype filter hook input priority 0\n\t\ttcp flags & (syn | ack) == syn drop\n\t}\n}\n")
	if r := execute(t, l.Client, "nft", "-f", hold); r.status != 0 {
		t.Fatal(r)
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ours, theirs := hostPort(l.Client, f.network, closedPort(t, l.Client)), closedPort(t, l.Server)
			d := withServer(t, l, "forward", theirs, "    initiate: both\n"+notAdopting)
			type dialled struct {
				c   net.Conn
				err error
			}
			ctx, answered := within(t, patience), make(chan dialled, 1)
			go func() {
				c, err := l.Server.DialFrom(ctx, f.network, hostPort(l.Server, f.network, theirs), ours)
				answered <- dialled{c, err}
			}()
			eventually(t, "the server's SYN", func() (bool, string) {
				list := table[[]ppf.ConnectionInfo](t, d, "connections")
				return len(list) == 1 && list[0].SC.Received == "SYN-SENT", ""
			})
			client := must(l.Client.DialFrom(ctx, f.network, ours, hostPort(l.Server, f.network, theirs)))(t)
			defer client.Close()
			server := <-answered
			if server.err != nil {
				t.Fatalf("%v; %+v", server.err, d.reasons(t))
			}
			defer server.c.Close()
			for _, c := range []net.Conn{client, server.c} {
				check(t, c.SetDeadline(time.Now().Add(patience)))
			}
			carries(t, client, server.c, "to the server")
			carries(t, server.c, client, "to the client")
			// Its numbers are kept, so what is taken before conntrack goes on from there.
			if s := d.accounted(t).Packets; s.Sent < 8 || s.Dropped+s.Unchanged > 0 {
				t.Errorf("packets were not rebuilt: %+v, %+v", s, d.reasons(t))
			}
		})
	}
}

// TestHalfClose: one kernel closes its direction and goes on reading.
func TestHalfClose(t *testing.T) {
	l := up(t, lab.Options{})
	for _, f := range families {
		listener := must(l.Server.Listen(within(t, patience), f.network, hostPort(l.Server, f.network, 0)))(t)
		defer listener.Close()
		d := withServer(t, l, "forward", port(t, listener.Addr().String()), notAdopting)
		client, server := pairThrough(t, l, listener, f.network)
		must(client.Write([]byte("question")))(t)
		check(t, client.CloseWrite())
		if question := must(io.ReadAll(server))(t); string(question) != "question" {
			t.Fatalf("the server got %q", question)
		}
		if list := table[[]ppf.ConnectionInfo](t, d, "connections"); len(list) != 1 || list[0].State != "FIN-WAIT" {
			t.Errorf("connections %+v, want one in FIN-WAIT", list)
		}
		answer := bytes.Repeat([]byte("answer "), 200_000)
		sent := make(chan error, 1)
		go func() {
			_, err := server.Write(answer)
			sent <- errors.Join(err, server.Close())
		}()
		if got := must(io.ReadAll(client))(t); !bytes.Equal(got, answer) {
			t.Errorf("%s: the client got %d bytes, which are not the %d of the answer", f.name, len(got), len(answer))
		}
		check(t, <-sent)
		undisturbed(t, d)
		d.stop(t)
	}
}

// TestProbes: a kernel asks whether the other one is still there, and whether its
// window has opened, and gets its answers.
func TestProbes(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	for _, f := range families {
		listener := must(l.Server.Listen(within(t, patience), f.network, hostPort(l.Server, f.network, 0)))(t)
		defer listener.Close()
		d := withServer(t, l, "forward", port(t, listener.Addr().String()), notAdopting)
		client, server := pairThrough(t, l, listener, f.network)
		capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
		// probed waits for a segment of the client without data, one before what the
		// server acknowledged in a segment that is wanted.
		probed := func(what string, wanted func(s seen) bool) {
			t.Helper()
			var acked packet.Seq
			found := false
			_, err := capture.Wait(within(t, patience), func(frame lab.Frame) bool {
				s, ok := seenIn(frame.Data)
				switch {
				case !ok:
				case frame.Outgoing:
					acked, found = s.ack, wanted(s)
				default:
					return found && s.payload == 0 && s.seq == acked-1
				}
				return false
			})
			if err != nil {
				t.Fatalf("%s, %s: %v; %+v", f.name, what, err, d.reasons(t))
			}
		}
		check(t, client.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5}))
		carries(t, client, server, "hello")
		probed("keep-alive", func(s seen) bool { return s.window > 0 })
		carries(t, server, client, "still here")

		data, sent := bytes.Repeat([]byte("0123456789"), 1_000_000), make(chan error, 1)
		go func() {
			_, err := client.Write(data)
			sent <- err
		}()
		probed("a closed window", func(s seen) bool { return s.window == 0 })
		got := make([]byte, len(data))
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: the server got other data: %v; %+v", f.name, err, d.reasons(t))
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		must(capture.Stop())(t)
		undisturbed(t, d)
		d.stop(t)
	}
}
