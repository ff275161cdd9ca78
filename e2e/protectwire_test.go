package e2e

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
)

// TestProtectBridge: on a bridge the command finds the ports by itself, looks in
// monitor first and tells what it saw, protects when it is told to, and leaves a
// bridge behind.
func TestProtectBridge(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{Inline: true})
	check(t, l.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface))
	allowed, other, ofClient := web(t, l.Server), web(t, l.Server), web(t, l.Client)
	at4 := func(h *lab.Host, s *lab.HTTPServer) string { return hostPort(h, "tcp4", port(t, s.Addr)) }
	if !reaches(t, l.Client, at4(l.Server, other)) {
		t.Fatal("the bridge does not carry frames")
	}
	_, p80, err := net.SplitHostPort(allowed.Addr)
	check(t, err)
	server := l.Server.IPv4.String()
	if r := run(t, l.Proxy, "protect", server, "--inline", lab.ClientInterface+","+lab.ServerInterface, "--print"); r.status != 0 ||
		!strings.Contains(r.out, "inline: {client: "+lab.ClientInterface+", server: "+lab.ServerInterface+"}") {
		t.Errorf("%v", r)
	}
	if r := run(t, l.Proxy, "protect", server, "--inline", lab.ClientInterface+",nosuch0", "--print"); r.status != 1 || !strings.Contains(r.errors, "nosuch0") {
		t.Errorf("%v", r)
	}
	// No route leads to the server: the bridge has no address.
	route := execute(t, l.Proxy, "ip", "route", "add", server+"/32", "dev", "bridge0")
	if route.status != 0 {
		t.Fatal(route)
	}
	p := startProtect(t, l, nil, server, "--tcp", p80)
	if !reaches(t, l.Client, at4(l.Server, allowed)) || !reaches(t, l.Client, at4(l.Server, other)) {
		t.Errorf("monitor does not let everything pass:\n%s", p.text())
	}
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	t.Cleanup(func() { check(t, sender.Close()) })
	var profinet packet.Out
	profinet.SetEthernet(packet.Ethernet{Src: packet.MAC(must(l.Client.MAC(""))(t)), Dst: packet.MAC(must(l.Server.MAC(""))(t)), Type: 0x8892})
	profinet.SetPayload(make([]byte, 46))
	check(t, sender.Send(append(must(profinet.Encode(make([]byte, packet.MaxHeaders)))(t), make([]byte, 46)...)))
	eventually(t, "the frame is counted", func() (bool, string) { return p.counted(t, "ethernet.type") > 0, p.text() })
	must(io.WriteString(p.stdin, "\n"))(t)
	eventually(t, "protecting", func() (bool, string) { return strings.Contains(p.text(), "promethos: protecting\n"), p.text() })
	for _, want := range []string{"would-drop tcp.initiate", "(relaxed by initiate: both)", "--ethertypes 0x8892"} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("what it saw lacks %q:\n%s", want, p.text())
		}
	}
	if !reaches(t, l.Client, at4(l.Server, allowed)) {
		t.Error("the allowed port cannot be reached")
	}
	if !unreached(t, l.Client, at4(l.Server, other)) {
		t.Error("another port can be reached")
	}
	if !reaches(t, l.Server, at4(l.Client, ofClient)) {
		t.Error("the server cannot open connections")
	}
	p.accounted(t)
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	if !reaches(t, l.Client, at4(l.Server, other)) {
		t.Error("the bridge does not carry frames again")
	}
}

// TestProtectBridgeSession: who comes in over the bridge is not cut off, but told.
func TestProtectBridgeSession(t *testing.T) {
	l := up(t, lab.Options{Inline: true})
	check(t, l.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface))
	if r := execute(t, l.Proxy, "ip", "addr", "add", "10.77.0.9/24", "dev", "bridge0"); r.status != 0 {
		t.Fatal(r)
	}
	cmd := l.Proxy.Command(t.Context(), program, "--control", "/nonexistent", "protect", l.Server.IPv4.String(), "--tcp", "80")
	cmd.Env = append(cmd.Environ(), "SSH_CONNECTION="+l.Client.IPv4.String()+" 50000 10.77.0.9 22")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the session in which this is typed comes in there") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestBlockBridge: before the daemon runs, and when it is gone, a bridge between the
// ports of an inline pair carries nothing.
func TestBlockBridge(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{Inline: true})
	check(t, l.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface))
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	configuration := strings.Replace(wire("arp, tcp"), "version: 1\n", "version: 1\non_exit: block\n", 1)
	write(t, file, configuration)
	if !reaches(t, l.Client, addr) {
		t.Fatal("the bridge does not carry frames")
	}
	if r := run(t, l.Proxy, "block", "-c", file); r.status != 0 {
		t.Fatal(r)
	}
	if !unreached(t, l.Client, addr) {
		t.Error("blocked, the server can be reached")
	}
	d := start(t, l, configuration)
	if !reaches(t, l.Client, addr) {
		t.Error("with the daemon the server cannot be reached")
	}
	if r := run(t, l.Proxy, "block", "-c", file); r.status != 1 || !reaches(t, l.Client, addr) {
		t.Errorf("block under a daemon: %v", r)
	}
	d.stop(t)
	if !unreached(t, l.Client, addr) {
		t.Error("after the daemon the server can be reached")
	}
	if r := run(t, l.Proxy, "unblock"); r.status != 0 || !reaches(t, l.Client, addr) {
		t.Errorf("unblock: %v", r)
	}
}

// TestBlockLate: a port that comes after the block is closed when it comes, before
// a bridge carries anything.
func TestBlockLate(t *testing.T) {
	need(t, "curl")
	need(t, "ip")
	l := up(t, lab.Options{Inline: true})
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, wire("arp, tcp"))
	ip := func(args ...string) {
		t.Helper()
		if r := execute(t, l.Proxy, "ip", append([]string{"link", "set"}, args...)...); r.status != 0 {
			t.Fatal(r)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		ip(from, "down")
		ip(from, "name", to)
		ip(to, "up")
	}
	rename(lab.ClientInterface, "early0")
	p := &protection{ended: make(chan error, 1)}
	p.cmd = l.Proxy.Command(t.Context(), program, "block", "--watch", "-c", file)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	check(t, p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	says := func(what string, times int) {
		t.Helper()
		eventually(t, what, func() (bool, string) { return strings.Count(p.text(), what) == times, p.text() })
	}
	says("ready", 1)
	says(lab.ClientInterface+" is not there yet", 1)
	rename("early0", lab.ClientInterface)
	says("closed: "+lab.ClientInterface, 1)
	check(t, l.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface))
	if !unreached(t, l.Client, addr) {
		t.Error("the bridge carries frames of a port that came late")
	}
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	if !unreached(t, l.Client, addr) {
		t.Error("the end of the watch opened the port")
	}
	unblock(t, l)
	eventually(t, "unblock opens it", func() (bool, string) { return !unreached(t, l.Client, addr), "" })
}
