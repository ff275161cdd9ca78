package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// fragmented sends echoes and datagrams that are longer than a frame through the
// program, to a real kernel and back; what arrives is compared with what was sent
// by the lab's clients, byte for byte.
func fragmented(t *testing.T, l *lab.Lab, d *daemon) {
	t.Helper()
	for _, f := range families {
		s := must(l.Server.StartUDPEcho(t.Context(), hostPort(l.Server, f.network, 0)))(t)
		for _, size := range []int{1400, 1473, 2953, 8000, 60000} {
			options := lab.EchoOptions{Count: 3, Size: size}
			r := must(l.Client.UDPEcho(within(t, patience), hostPort(l.Server, f.network, port(t, s.Addr)), options))(t)
			if r.Received != r.Sent {
				t.Errorf("%s, datagrams of %d bytes: %d of %d came back; %+v", f.name, size, r.Received, r.Sent, d.reasons(t))
			}
			r = must(l.Client.Ping(within(t, patience), l.Server.Addr(f.network), options))(t)
			if r.Received != r.Sent {
				t.Errorf("%s, echoes of %d bytes: %d of %d came back; %+v", f.name, size, r.Received, r.Sent, d.reasons(t))
			}
		}
		check(t, s.Close())
	}
	for _, r := range d.reasons(t) { // kernels report themselves as listeners, too
		if strings.HasPrefix(r.Reason, "ip.") || strings.HasPrefix(r.Reason, "udp.") {
			t.Errorf("%s counted %d times", r.Reason, r.Count)
		}
	}
}

// TestFragmentsInline: what two kernels cut crosses a wire put together, judged and
// cut again, each piece in the eyes of other decoders as it must be.
func TestFragmentsInline(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	d := start(t, l, wire("arp, ip, nd, icmp, udp, tcp"))
	var file bytes.Buffer
	capture := must(l.Server.Capture(lab.CaptureOptions{Writer: &file, Filter: received(t, l)}))(t)
	fragmented(t, l, d)
	must(capture.Stop())(t)
	clean(t, capture.Frames(), file.Bytes())
	s := d.accounted(t)
	if s.Packets.Merged == 0 || s.Packets.Split != s.Packets.Merged || s.Packets.Held != 0 || s.Packets.Unchanged != 0 {
		t.Errorf("%+v", s.Packets)
	}
}

// TestFragmentsAtHooks: at netfilter's hooks the kernel makes the packet that the
// chain sees, of fragments that were judged before, and cuts it again.
func TestFragmentsAtHooks(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	for _, hook := range transitHooks {
		t.Run(hook, func(t *testing.T) {
			d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: udp
    hook: %s
    match: {protocol: udp, server: [%[2]s, "%[3]s"]}
    chain: [ip, udp]
  - name: icmp
    match: {protocol: icmp, server: [%[2]s, "%[3]s"]}
    chain: [ip, icmp]
`, hook, l.Server.IPv4, l.Server.IPv6))
			var file bytes.Buffer
			capture := must(l.Server.Capture(lab.CaptureOptions{Writer: &file, Filter: received(t, l)}))(t)
			fragmented(t, l, d)
			must(capture.Stop())(t)
			clean(t, capture.Frames(), file.Bytes())
			if s := d.accounted(t); s.Packets.Merged == 0 || s.Packets.Held != 0 {
				t.Errorf("%+v", s.Packets)
			}
		})
	}
}
