package relay_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/stream"
)

// clock is an Env of a running machine as far as streams ask.
type clock struct{ ppf.Env }

func (clock) Now() int64 { return time.Now().UnixNano() }

// rig is relay on a listener in front of a server.
type rig struct {
	t      *testing.T
	engine *ppf.Engine
	addr   string
	server net.Listener
	end    func()
}

func newRig(t *testing.T, address, settings string) *rig {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no address %s: %v", address, err)
	}
	e, err := ppf.New(ppf.Options{Env: clock{ppf.DryEnv()}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	listeners := stream.NewListeners(e)
	t.Cleanup(func() {
		l.Close()
		listeners.Close()
		e.Close(t.Context())
	})
	spec, problems := config.Parse("test.yaml", fmt.Appendf(nil, `version: 1
instances:
  - {name: front, source: listen, listen: "%s", upstream: "%v", chain: [relay], modules: {relay: {%s}}}
`, net.JoinHostPort(address, "0"), l.Addr(), settings))
	for _, p := range problems {
		t.Fatal(p)
	}
	if _, err := e.Apply(spec); err != nil {
		t.Fatal(err)
	}
	if err := listeners.Set(spec.Instances); err != nil {
		t.Fatal(err)
	}
	a, _ := listeners.Addr("front")
	return &rig{t, e, a.String(), l, listeners.Close}
}

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func (r *rig) accept() *net.TCPConn {
	r.t.Helper()
	c, err := r.server.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func (r *rig) reasons(name string) (n uint64) {
	for _, c := range r.engine.ReasonCounts() {
		if c.Reason == name && c.Action == "drop" {
			n += c.Count
		}
	}
	return n
}

// wantReset reads until the connection ends, which has to be by a reset.
func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %d bytes, then %v, want a reset", n, err)
	}
}

// wantRefused connects and wants a reset, which may come while it connects.
func (r *rig) wantRefused() {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		if !errors.Is(err, syscall.ECONNRESET) {
			r.t.Errorf("dial: %v, want a connection or a reset", err)
		}
		return
	}
	defer c.Close()
	wantReset(r.t, c)
}

// TestTransfer sends in both directions at once; each ends by itself, and is open
// the other way until then.
func TestTransfer(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			r := newRig(t, address, "")
			data := make([]byte, 3<<20)
			rand.NewChaCha8([32]byte{1}).Read(data)
			client := r.dial()
			go func() {
				client.Write(data)
				client.CloseWrite()
			}()
			server := r.accept()
			up := sha256.New()
			if n, err := io.Copy(up, server); err != nil || n != int64(len(data)) {
				t.Fatalf("the server got %d bytes, %v", n, err)
			}
			// The client's half is closed, and the server goes on.
			list := r.engine.Connections("front", 0)
			if len(list) != 1 || list[0].Client != client.LocalAddr().String() || list[0].Server != r.server.Addr().String() || list[0].CS.Bytes != uint64(len(data)) {
				t.Errorf("connections: got %+v", list)
			}
			if in := r.engine.Instances(); in[0].Connections != 1 {
				t.Errorf("connections of the instance: got %d, want 1", in[0].Connections)
			}
			go func() {
				server.Write(data)
				server.CloseWrite()
			}()
			down := sha256.New()
			if n, err := io.Copy(down, client); err != nil || n != int64(len(data)) {
				t.Fatalf("the client got %d bytes, %v", n, err)
			}
			want := sha256.Sum256(data)
			if !bytes.Equal(up.Sum(nil), want[:]) || !bytes.Equal(down.Sum(nil), want[:]) {
				t.Error("the bytes have changed on their way")
			}
		})
	}
}

// TestReset: a reset of one end is a reset at the other.
func TestReset(t *testing.T) {
	for _, tt := range []struct {
		name string
		pick func(client, server *net.TCPConn) (from, to *net.TCPConn)
	}{
		{"client", func(c, s *net.TCPConn) (*net.TCPConn, *net.TCPConn) { return c, s }},
		{"server", func(c, s *net.TCPConn) (*net.TCPConn, *net.TCPConn) { return s, c }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "127.0.0.1", "")
			from, to := tt.pick(r.dial(), r.accept())
			from.SetLinger(0)
			from.Close()
			wantReset(t, to)
		})
	}
}

// TestStop: what is under way when the listeners end does not look complete, to
// neither end.
func TestStop(t *testing.T) {
	r := newRig(t, "127.0.0.1", "")
	client, server := r.dial(), r.accept()
	r.end()
	wantReset(t, client)
	wantReset(t, server)
}

// TestServerDown: who connects is reset.
func TestServerDown(t *testing.T) {
	r := newRig(t, "127.0.0.1", "")
	r.server.Close()
	r.wantRefused()
	if n := r.reasons("relay.server.unreachable"); n != 1 {
		t.Errorf("relay.server.unreachable: got %d, want 1", n)
	}
}

// TestLimits: the connection that is too many is reset, the first one stays.
func TestLimits(t *testing.T) {
	for _, tt := range []struct{ setting, reason string }{
		{"connections: 1", "stream.limit-instance"},
		{"client_connections: 1", "stream.limit-client"},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			r := newRig(t, "127.0.0.1", tt.setting)
			first, server := r.dial(), r.accept()
			r.wantRefused()
			if n := r.reasons(tt.reason); n != 1 {
				t.Errorf("%s: got %d, want 1", tt.reason, n)
			}
			first.Write([]byte("x"))
			if _, err := server.Read(make([]byte, 1)); err != nil {
				t.Errorf("the first connection: %v", err)
			}
		})
	}
}

// TestTimes: what is silent, or lasts, for too long is reset at both ends; a
// half-closed one with a client that reads nothing too.
func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		name, setting, reason string
		before                func(client, server *net.TCPConn)
	}{
		{"idle", "idle: 1s", "relay.idle", func(*net.TCPConn, *net.TCPConn) {}},
		{"idle, half-closed and stuck", "idle: 1s", "relay.idle", func(client, server *net.TCPConn) {
			client.CloseWrite()
			server.SetWriteBuffer(4096)
			go io.Copy(server, endless{})
		}},
		{"lifetime", "lifetime: 300ms", "relay.lifetime", func(*net.TCPConn, *net.TCPConn) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "127.0.0.1", tt.setting)
			client, server := r.dial(), r.accept()
			tt.before(client, server)
			if _, err := io.Copy(io.Discard, server); err == nil {
				// The client closed its half; the reset shows at the next write.
				for err == nil {
					_, err = server.Write([]byte("x"))
				}
			} else if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server's end: got %v, want a reset", err)
			}
			wantReset(t, client)
			if n := r.reasons(tt.reason); n != 1 {
				t.Errorf("%s: got %d, want 1", tt.reason, n)
			}
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestProxyProtocol compares the header with the specification's layout.
func TestProxyProtocol(t *testing.T) {
	for _, tt := range []struct{ address, start string }{
		{"127.0.0.1", "0d0a0d0a000d0a515549540a2111000c"},
		{"::1", "0d0a0d0a000d0a515549540a21210024"},
	} {
		t.Run(tt.address, func(t *testing.T) {
			r := newRig(t, tt.address, "proxy_protocol: true")
			client := r.dial()
			client.Write([]byte("hello"))
			server := r.accept()
			want, err := hex.DecodeString(tt.start)
			if err != nil {
				t.Fatal(err)
			}
			from, to := client.LocalAddr().(*net.TCPAddr).AddrPort(), netip.MustParseAddrPort(r.addr)
			want = append(append(want, from.Addr().Unmap().AsSlice()...), to.Addr().AsSlice()...)
			want = append(want, byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port()))
			want = append(want, "hello"...)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %x, %v, want %x", got, err, want)
			}
		})
	}
}

// TestSettings: values out of range are refused.
func TestSettings(t *testing.T) {
	for _, tt := range []struct{ setting, want string }{
		{"idle: 10ms", "idle: 10ms is out of range (1s to 720h)"},
		{"lifetime: -1s", "lifetime: -1s is out of range (0s to 8760h)"},
		{"connect_timeout: 1h", "connect_timeout: 1h0m0s is out of range (1ms to 5m)"},
		{"connections: -1", "connections: -1 is negative (0 means no limit)"},
		{"client_connections: -1", "client_connections: -1 is negative (0 means no limit)"},
	} {
		_, problems := config.Parse("test.yaml", fmt.Appendf(nil,
			"version: 1\ninstances:\n  - {name: a, source: listen, listen: '127.0.0.1:0', upstream: '127.0.0.1:1', chain: [relay], modules: {relay: {%s}}}\n", tt.setting))
		if len(problems) != 1 || problems[0].What != tt.want {
			t.Errorf("%s: got %v, want %s", tt.setting, problems, tt.want)
		}
	}
}
