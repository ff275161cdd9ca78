package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestModbus reads registers over kernel TCP through the allow-list; a request
// that is not on it never arrives, its client is told so, and the connection goes on.
func TestModbus(t *testing.T) {
	l := up(t, lab.Options{})
	listener := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	t.Cleanup(func() { check(t, listener.Close()) })
	arrived := make(chan byte, 1000) // function codes
	go plc(listener, arrived)
	p := port(t, listener.Addr().String())
	dir := t.TempDir()
	guest(t, dir, "modbus", "../examples/modbus/guest", "../examples/modbus/modbus.json")
	d := start(t, l, withModule(dir, "tcp, modbus, relay", p, l)+"    modules: {modbus: {allow: [{function: 3, from: 0, to: 99}]}}\n")
	for _, f := range families {
		c := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p)))(t)
		for i := range 100 {
			request := []byte{0, byte(i), 0, 0, 0, 6, 1, 3, 0, byte(i % 90), 0, 2}
			cut := i % len(request) // into two segments
			for _, part := range [][]byte{request[:cut], request[cut:]} {
				must(c.Write(part))(t)
			}
			answer := make([]byte, 13)
			must(io.ReadFull(c, answer))(t)
			if want := []byte{0, byte(i), 0, 0, 0, 7, 1, 3, 4, 0, byte(i % 90), 0, byte(i%90) + 1}; !bytes.Equal(answer, want) {
				t.Fatalf("%s: answer %x, want %x", f.name, answer, want)
			}
		}
		before := d.counted(t, "modbus.register")
		must(c.Write([]byte{0, 7, 0, 0, 0, 6, 1, 6, 0, 1, 0, 2, 0, 8, 0, 0, 0, 6, 1, 3, 0, 5, 0, 2}))(t) // write a register, and read
		answers := make([]byte, 9+13)
		must(io.ReadFull(c, answers))(t)
		if want := []byte{0, 7, 0, 0, 0, 3, 1, 0x86, 2, 0, 8, 0, 0, 0, 7, 1, 3, 4, 0, 5, 0, 6}; !bytes.Equal(answers, want) {
			t.Errorf("%s: a refused request and another: %x, want %x", f.name, answers, want)
		}
		if n := d.counted(t, "modbus.register"); n != before+1 {
			t.Errorf("%s: %d requests were refused", f.name, n-before)
		}
		check(t, c.Close())
	}
	for len(arrived) > 0 {
		if code := <-arrived; code != 3 {
			t.Errorf("function %d arrived", code)
		}
	}
	if n := d.counted(t, "wasm.rest"); n > 0 {
		t.Errorf("%d connections ended in the middle of a message", n)
	}
	d.accounted(t)
}

// plc answers reads of two registers with their own numbers.
func plc(listener net.Listener, arrived chan<- byte) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			request := make([]byte, 12)
			for {
				if _, err := io.ReadFull(c, request); err != nil {
					return
				}
				arrived <- request[7]
				first := binary.BigEndian.Uint16(request[8:])
				answer := append(slices.Clone(request[:4]), 0, 7, request[6], 3, 4)
				answer = binary.BigEndian.AppendUint16(answer, first)
				if _, err := c.Write(binary.BigEndian.AppendUint16(answer, first+1)); err != nil {
					return
				}
			}
		}()
	}
}

// TestDNSGuard resolves names over kernel UDP, with a resolver of somebody
// else's, through a server that compresses; answers with a pointer that leads to
// itself never arrive.
func TestDNSGuard(t *testing.T) {
	l := up(t, lab.Options{})
	server := must(l.Server.ListenPacket(t.Context(), "udp", "[::]:0"))(t)
	t.Cleanup(func() { check(t, server.Close()) })
	go nameServer(server)
	p := port(t, server.LocalAddr().String())
	dir := t.TempDir()
	guest(t, dir, "dnsguard", "../examples/dnsguard/guest", "../examples/dnsguard/dnsguard.json")
	d := start(t, l, strings.Replace(withModule(dir, "dnsguard", p, l), "protocol: tcp", "protocol: udp", 1))
	for _, f := range []family{{"ipv4", "udp4"}, {"ipv6", "udp6"}} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.Client.Dial(ctx, f.network, hostPort(l.Server, strings.Replace(f.network, "udp", "tcp", 1), p))
		}}
		for range 20 {
			addrs := must(resolver.LookupHost(within(t, patience), "plc.example.test."))(t)
			slices.Sort(addrs)
			if want := []string{"192.0.2.53", "2001:db8::53"}; !slices.Equal(addrs, want) {
				t.Fatalf("%s: resolved to %v, want %v", f.name, addrs, want)
			}
		}
		before := d.counted(t, "dnsguard.pointer")
		c := must(resolver.Dial(within(t, patience), "", ""))(t)
		must(c.Write([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x00\x00\x01\x00\x01")))(t)
		eventually(t, "refused", func() (bool, string) {
			n := d.counted(t, "dnsguard.pointer")
			return n > before, fmt.Sprint(n)
		})
		check(t, c.Close())
	}
	for _, r := range d.reasons(t) {
		if r.Reason != "dnsguard.pointer" && strings.HasPrefix(r.Reason, "dnsguard") {
			t.Errorf("%+v", r)
		}
	}
	d.accounted(t)
}

// nameServer answers with an alias and an address, both compressed, and for evil
// with a pointer to itself.
func nameServer(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 17 {
			continue
		}
		question := buf[12 : 12+bytes.IndexByte(buf[12:n], 0)+5]
		kind := question[len(question)-3]
		answer := append(slices.Clone(buf[:2]), 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0)
		answer = append(answer, question...)
		alias := len(answer) + 12
		answer = append(answer, 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, 'a', 0xc0, 16)
		if bytes.Contains(question, []byte("evil")) {
			answer[len(answer)-1] = byte(len(answer) - 2)
		}
		answer = append(answer, 0xc0, byte(alias), 0, kind, 0, 1, 0, 0, 0, 60, 0)
		if kind == 28 {
			a := net.ParseIP("2001:db8::53").To16()
			answer = append(append(answer, 16), a...)
		} else {
			answer = append(answer, 4, 192, 0, 2, 53)
		}
		if _, err := c.WriteTo(answer, from); err != nil {
			return
		}
	}
}
