package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestAppendixA1 runs the sequence of thesis appendix A.1 as it is printed: the
// module "modull", whose function reports each call and sets no packet.
func TestAppendixA1(t *testing.T) {
	l := up(t, lab.Options{})
	d := start(t, l, empty)
	d.do(t, "module", "load", "modull")
	d.event(t, "PROMETHOS: init() called")
	d.event(t, "PROXY: Function 'test' registered at table")

	n := d.rule(t, "-A", "OUTPUT", "-p", "icmp", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 test.")
	d.event(t, "PROXY: proxy_generic instance cs:"+n+" sc:0")
	d.event(t, "PROXY: Functions CS test")

	list := d.iptables(t, "-L")
	for _, want := range []string{
		`(?m)^Chain OUTPUT \(policy ACCEPT\)$`,
		`(?m)^target +prot +opt +source +destination *$`,
		`(?m)^PROMETHOS +icmp +-+ +anywhere +anywhere +PROMETHOS_PROXY#` + n + `\b`,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("iptables -L does not show %q:\n%s", want, list)
		}
	}

	const probes = 3
	echo, err := l.Proxy.Ping(within(t, patience), l.Server.IPv4, lab.EchoOptions{Count: probes, Timeout: settled})
	if echo.Received != 0 {
		t.Errorf("ping through 'test': %d answers (%v), want none", echo.Received, err)
	}
	d.dropped(t, probes)
	d.event(t, "TEST_FUNCTION called")
	d.event(t, "Proxy: Unable to process c2p packet")
	s := d.accounted(t)
	if s.Packets.Dropped != probes || s.Packets.Sent+s.Packets.Unchanged != 0 {
		t.Errorf("stats after %d pings: %+v, want all dropped", probes, s.Packets)
	}
	if got := d.counted(t, "chain.unhandled"); got != s.Packets.Dropped {
		t.Errorf("chain.unhandled counted %d times, want %d", got, s.Packets.Dropped)
	}

	d.iptables(t, "-F")
	d.do(t, "module", "unload", "modull")
	d.event(t, "PROXY: Function 'test' removed")
	if echo := must(l.Proxy.Ping(within(t, patience), l.Server.IPv4, lab.EchoOptions{}))(t); echo.Received != 1 {
		t.Error("ping after -F: no answer")
	}
}

// TestAppendixA1Unload wants a module in use to stay, as rmmod does.
func TestAppendixA1Unload(t *testing.T) {
	l := up(t, lab.Options{})
	d := start(t, l, empty)
	d.do(t, "module", "load", "modull")
	d.rule(t, "-A", "OUTPUT", "-p", "icmp", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 test.")
	if r := d.try(t, "module", "unload", "modull"); r.status != 1 || !strings.HasPrefix(r.errors, "promethos: ") {
		t.Errorf("unload of a module in use: %v\nwant status 1 and why", r)
	}
}

// appendixWeb runs transfers through a proxy instance made by command, and gives
// what the server's side saw of them.
func appendixWeb(t *testing.T, l *lab.Lab, d *daemon, s *lab.HTTPServer) []lab.Frame {
	t.Helper()
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	must(l.Client.Download(within(t, patience), s.DataURL(20_000_000, 2)))(t)
	must(l.Client.Upload(within(t, patience), s.UploadURL(), 5_000_000, 3))(t)
	if stats := must(capture.Stop())(t); stats.Dropped > 0 {
		t.Fatalf("the capture lost %d frames", stats.Dropped)
	}
	d.accounted(t)
	return capture.Frames()
}

// TestAppendixA2 runs the sequence of thesis appendix A.2: both flows of the TCP
// state machine at PREROUTING.
func TestAppendixA2(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	s := at(hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr)))
	d := start(t, l, empty)
	server := l.Server.IPv4.String()
	d.do(t, "module", "load", "module_tcp")
	cs := d.rule(t, "-A", "PREROUTING", "-p", "tcp", "-d", server, "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 tcp.")
	d.event(t, "PROXY: proxy_generic instance cs:"+cs+" sc:0")
	sc := d.rule(t, "-A", "PREROUTING", "-p", "tcp", "-s", server, "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
	d.event(t, "PROXY: proxy_generic instance cs:"+cs+" sc:"+sc)
	frames := appendixWeb(t, l, d, s)
	if n := rebuilt4(t, frames, l.Client.IPv4); n == 0 {
		t.Error("the capture shows no packet from the client")
	}
	list := d.instances(t)
	if len(list) != 1 || list[0].Name != cs+"/"+sc || list[0].Origin != "runtime" || list[0].Flows[0].Sent == 0 || list[0].Flows[1].Sent == 0 {
		t.Errorf("instances: %+v, want %s/%s with packets sent in both flows", list, cs, sc)
	}
}

// TestAppendixA3 runs the sequence of thesis appendix A.3: the server sees the
// address of the outgoing interface, and a server that opens a connection is
// refused where the kernel of 2006 crashed.
func TestAppendixA3(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	s := at(hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr)))
	d := start(t, l, empty)
	server := l.Server.IPv4.String()
	d.do(t, "module", "load", "module_tcp2")
	cs := d.rule(t, "-A", "FORWARD", "-d", server, "-p", "tcp", "-j", "PROMETHOS", "--plugin", "PROXY3", "--autoinstance", "--config", "cs 2 tcp2.")
	d.rule(t, "-A", "PREROUTING", "-s", server, "-p", "tcp", "-j", "PROMETHOS", "--plugin", "PROXY3", "--autoinstance", "--config", "sc "+cs+" tcp2.")

	frames := appendixWeb(t, l, d, s)
	outgoing := l.Server.IPv4.As4()
	outgoing[3] = 1 // the proxy's address on the server's side
	if n := rebuilt4(t, frames, netip.AddrFrom4(outgoing)); n == 0 {
		t.Errorf("no packet came from %v", netip.AddrFrom4(outgoing))
	}
	if n := from4(frames, l.Client.IPv4); n != 0 {
		t.Errorf("%d packets came with the client's own address", n)
	}

	// The client would take the connection: only the proxy stands in the way.
	listener := must(l.Client.Listen(t.Context(), "tcp4", ":0"))(t)
	defer listener.Close()
	target := hostPort(l.Client, "tcp4", port(t, listener.Addr().String()))
	c, err := l.Server.Dial(within(t, patience), "tcp4", target)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the server opens a connection: %v, want connection refused", err)
	}
	if d.counted(t, "tcp2.server-opens") == 0 {
		t.Errorf("tcp2.server-opens is not counted: %+v", d.reasons(t))
	}
	d.accounted(t)
	must(l.Client.Download(within(t, patience), s.DataURL(1_000_000, 4)))(t)
}

// ipv4 gives the IPv4 header of a frame that the host received.
func ipv4(f lab.Frame) ([]byte, bool) {
	b := f.Data
	if f.Outgoing || len(b) < 34 || b[12] != 8 || b[13] != 0 {
		return nil, false
	}
	return b[14:], true
}

// from4 counts the received IPv4 packets of an address.
func from4(frames []lab.Frame, source netip.Addr) (n int) {
	for _, f := range frames {
		if ip, ok := ipv4(f); ok && netip.AddrFrom4([4]byte(ip[12:16])) == source {
			n++
		}
	}
	return n
}

// rebuilt4 checks the thesis' proof of a working proxy: ID 0 in every packet with
// DF that came from an address. It gives the number of these.
func rebuilt4(t *testing.T, frames []lab.Frame, source netip.Addr) (n int) {
	t.Helper()
	for i, f := range frames {
		ip, ok := ipv4(f)
		if !ok || netip.AddrFrom4([4]byte(ip[12:16])) != source || ip[6]&0x40 == 0 {
			continue
		}
		n++
		if id := uint16(ip[4])<<8 | uint16(ip[5]); id != 0 {
			t.Fatalf("frame %d from %v has DF and ID %#04x, want 0x0000", i+1, source, id)
		}
	}
	return n
}

// withServer starts the program with one instance in front of the lab's server.
func withServer(t *testing.T, l *lab.Lab, hook string, p uint16, more string) *daemon {
	t.Helper()
	return start(t, l, protect(hook, p, more, l.Server))
}

// protect is the configuration of one instance in front of a host's port;
// more is indented by four spaces.
func protect(hook string, p uint16, more string, h *lab.Host) string {
	return fmt.Sprintf(`version: 1
instances:
  - name: web
    hook: %s
    match: {protocol: tcp, server: [%s, "%s"], port: %d}
    chain: [tcp]
%s`, hook, h.IPv4, h.IPv6, p, more)
}
