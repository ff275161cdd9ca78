package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// socket opens a TCP socket of a host; what is done with it afterwards is its, too.
func socket(t *testing.T, h *lab.Host) (fd int) {
	t.Helper()
	check(t, h.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	}))
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	wait := unix.NsecToTimeval(int64(patience)) // accepted ones have it from their listener
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	return fd
}

// synOf gives the TCP header of a received SYN.
func synOf(f lab.Frame) *layers.TCP {
	tcp, _ := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
	if tcp == nil || f.Outgoing || !tcp.SYN || tcp.ACK {
		return nil
	}
	return tcp
}

// TestFastOpen: two kernels agree on a cookie, and the next SYN brings its data to
// the server where `options` lists it. Otherwise it comes after the handshake.
func TestFastOpen(t *testing.T) {
	for _, listed := range []bool{true, false} {
		t.Run(fmt.Sprintf("listed %v", listed), func(t *testing.T) {
			l := up(t, lab.Options{})
			for _, h := range []*lab.Host{l.Client, l.Server} {
				check(t, h.Sysctl("net/ipv4/tcp_fastopen", "3"))
			}
			server := socket(t, l.Server)
			check(t, unix.SetsockoptInt(server, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16))
			check(t, unix.Bind(server, &unix.SockaddrInet4{}))
			check(t, unix.Listen(server, 16))
			name := must(unix.Getsockname(server))(t).(*unix.SockaddrInet4)
			more := ""
			if listed {
				more = "    modules: {tcp: {options: [fast-open]}}\n"
			}
			d := withServer(t, l, "forward", uint16(name.Port), more)
			capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
			for i := range 2 {
				data := fmt.Sprintf("request %d", i)
				client := socket(t, l.Client)
				check(t, unix.Sendto(client, []byte(data), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: name.Port, Addr: l.Server.IPv4.As4()}))
				conn, _, err := unix.Accept(server)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { check(t, unix.Close(conn)) })
				buf := make([]byte, 64)
				if n := must(unix.Read(conn, buf))(t); string(buf[:n]) != data {
					t.Errorf("connection %d: the server got %q, want %q", i, buf[:n], data)
				}
			}
			must(capture.Stop())(t)
			var opening []string
			for _, f := range capture.Frames() {
				if syn := synOf(f); syn != nil {
					opening = append(opening, string(syn.Payload))
				}
			}
			if got := len(opening) > 0 && opening[len(opening)-1] == "request 1"; got != listed {
				t.Errorf("SYNs that arrived brought %q; the last one's data is wanted with it: %v; %+v", opening, listed, d.reasons(t))
			}
		})
	}
}

// TestMSSClamp: what a client announces is lowered to what fits the narrow link in
// front of it, and transfers work.
func TestMSSClamp(t *testing.T) {
	const mtu, headers = 1300, 40
	l := up(t, lab.Options{})
	check(t, l.Proxy.Do(func() error {
		link, err := netlink.LinkByName(lab.ClientInterface)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	}))
	w := web(t, l.Server)
	p := port(t, w.Addr)
	withServer(t, l, "forward", p, "    modules: {tcp: {mss_clamp: true}}\n")
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	addr := netip.AddrPortFrom(l.Server.IPv4, p).String()
	must(l.Client.Download(within(t, patience), at(addr).DataURL(1_000_000, 5)))(t)
	must(capture.Stop())(t)
	seen := 0
	for _, f := range capture.Frames() {
		syn := synOf(f)
		if syn == nil {
			continue
		}
		for _, o := range syn.Options {
			if o.OptionType == layers.TCPOptionKindMSS {
				seen++
				if got := int(o.OptionData[0])<<8 | int(o.OptionData[1]); got != mtu-headers {
					t.Errorf("MSS %d arrived, want %d", got, mtu-headers)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no SYN with an MSS arrived")
	}
}
