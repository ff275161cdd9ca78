package e2e

import (
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
)

// TestWeather lets the kernels' own TCP transfer in both directions over a cable
// that loses, repeats and swaps segments, with every kind of window and option:
// all must come through byte for byte, and none of the six properties break.
func TestWeather(t *testing.T) {
	const headers = 40 // of IPv4 and TCP
	both := func(key, value string) func(t *testing.T, l *lab.Lab) {
		return func(t *testing.T, l *lab.Lab) {
			check(t, l.Client.Sysctl(key, value))
			check(t, l.Server.Sysctl(key, value))
		}
	}
	mss := func(n int) func(t *testing.T, l *lab.Lab) {
		return func(t *testing.T, l *lab.Lab) {
			// The kernel announces no less than this, whatever the MTU.
			check(t, l.Client.Sysctl("net/ipv4/route/min_adv_mss", strconv.Itoa(n)))
			check(t, l.Client.Do(func() error {
				link, err := netlink.LinkByName(lab.EndInterface)
				if err != nil {
					return err
				}
				return netlink.LinkSetMTU(link, n+headers)
			}))
		}
	}
	for _, tt := range []struct {
		name  string
		set   func(t *testing.T, l *lab.Lab)
		bytes int64
		only4 bool // IPv6 needs an MTU of 1,280
	}{
		{"large windows", both("net/ipv4/tcp_rmem", "4096 4194304 4194304"), 4_000_000, false},
		{"tiny windows", both("net/ipv4/tcp_rmem", "2304 2304 2304"), 60_000, false},
		{"no scaling", both("net/ipv4/tcp_window_scaling", "0"), 500_000, false},
		{"no SACK", both("net/ipv4/tcp_sack", "0"), 500_000, false},
		{"no timestamps", both("net/ipv4/tcp_timestamps", "0"), 500_000, false},
		{"MSS 536", mss(536), 200_000, true},
		{"MSS 88", mss(88), 60_000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := up(t, lab.Options{Weather: &lab.Weather{Seed: 7, Lose: 10, Repeat: 10, Swap: 20}})
			tt.set(t, l)
			w := web(t, l.Server)
			p := port(t, w.Addr)
			d := withServer(t, l, "forward", p, "")
			before := must(proof.TakeVitals(t.Context(), d.Proxy))(t)
			capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
			for _, f := range families {
				if tt.only4 && f.network == "tcp6" {
					continue
				}
				s := at(hostPort(l.Server, f.network, p))
				must(l.Client.Download(within(t, patience), s.DataURL(tt.bytes, 3)))(t)
				must(l.Client.Upload(within(t, patience), s.UploadURL(), tt.bytes, 4))(t)
			}
			must(capture.Stop())(t)
			if did := l.Weather(); did.Lost == 0 || did.Swapped == 0 || did.Repeated == 0 {
				t.Errorf("the weather was fine: %+v", did)
			}
			for _, v := range must(proof.Packets(t.Context(), capture.Frames(), lab.KindDFIDCount))(t) {
				t.Error(v)
			}
			for _, v := range must(proof.Daemon(t.Context(), d.Proxy, before))(t) {
				t.Error(v)
			}
			if t.Failed() {
				t.Logf("%+v", d.reasons(t))
			}
		})
	}
}
