package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// soak is how long TestSoak runs: PROMETHOS_SOAK=30m for the real thing.
func soak(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PROMETHOS_SOAK")
	if text == "" {
		return 0
	}
	return must(time.ParseDuration(text))(t)
}

// usage is what a process holds: descriptors, and memory in kB.
func (d *daemon) usage(t *testing.T) (descriptors, memory int) {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(d.PID()))
	descriptors = len(must(os.ReadDir(filepath.Join(proc, "fd")))(t))
	for line := range strings.Lines(string(must(os.ReadFile(filepath.Join(proc, "status")))(t))) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			memory = must(strconv.Atoi(strings.Fields(value)[0]))(t)
		}
	}
	return descriptors, memory
}

// TestSoak reloads under connections and attacks, again and again, with instances
// and inline pairs that come and go, and with `protect` beside the file; descriptors
// and, in a run that was asked for, memory stay flat.
func TestSoak(t *testing.T) {
	t.Run("routed", func(t *testing.T) {
		t.Parallel()
		l := up(t, lab.Options{})
		soaks(t, l, func(p uint16) string { return protect("forward", p, "", l.Server) },
			"  - name: other\n    match: {protocol: tcp, server: 192.0.2.1}\n    chain: [tcp]\n",
			func(t *testing.T, d *daemon, n int) {
				t.Helper()
				p := startProtectAt(t, l, d.Control, nil, l.Client.IPv4.String(), "--tcp", "80")
				d.do(t, "reload")
				end := syscall.SIGTERM
				if n%2 == 0 {
					end = syscall.SIGKILL
				}
				check(t, p.cmd.Process.Signal(end))
				<-p.ended
				eventually(t, "what protect has added is gone", func() (bool, string) {
					list := d.instances(t)
					return len(list) == 1+(n+1)%2, fmt.Sprint(list)
				})
			})
	})
	t.Run("inline", func(t *testing.T) {
		t.Parallel()
		need(t, "ip")
		l := up(t, lab.Options{Inline: true})
		if r := execute(t, l.Proxy, "ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1"); r.status != 0 {
			t.Fatal(r)
		}
		soaks(t, l, func(uint16) string { return wire("arp, icmp, udp, tcp") },
			"  - name: spare\n    source: inline\n    inline: {client: spare0, server: spare1}\n    chain: [arp, tcp]\n",
			func(*testing.T, *daemon, int) {})
	})
}

// soaks reloads a daemon with and without other instances.
func soaks(t *testing.T, l *lab.Lab, configuration func(p uint16) string, other string, beside func(*testing.T, *daemon, int)) {
	t.Helper()
	long := soak(t)
	echo := must(l.Server.StartEcho(t.Context(), l.Server.IPv4.String()+":0"))(t)
	defer echo.Close()
	p := port(t, echo.Addr)
	text := configuration(p)
	d := start(t, l, text)
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	defer sender.Close()
	env := must(l.AttackEnv(p))(t)
	round := func(n int) {
		t.Helper()
		if n%2 == 0 {
			d.configure(t, text+other)
		} else {
			d.configure(t, text)
		}
		d.do(t, "reload")
		must(l.Client.ShortConnections(within(t, patience), echo.Addr, 50, 4, 1000))(t)
		for _, a := range attacksOn("tcp") {
			check(t, sender.SendAll(a.Frames(env)))
		}
		beside(t, d, n)
		d.do(t, "events")
	}
	const warm = 4
	for n := range warm {
		round(n)
	}
	descriptors, memory := d.usage(t)
	const every = 10 * time.Second
	rounds := 4
	if long > 0 {
		rounds = int(long / every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := range rounds {
		if long > 0 {
			select {
			case <-tick.C:
			case <-t.Context().Done():
				t.Fatal("ended early")
			}
		}
		round(n)
		if n == rounds/3 {
			_, memory = d.usage(t) // what is bounded has filled up by now
		}
		if n%30 == 0 {
			now, used := d.usage(t)
			t.Logf("round %d: %d descriptors, %d kB", n, now, used)
		}
	}
	after, used := d.usage(t)
	if after > descriptors+2 {
		t.Errorf("%d descriptors, %d at the start", after, descriptors)
	}
	if long > 0 && used > memory*3/2 {
		t.Errorf("%d kB of memory, %d after a third of the time", used, memory)
	}
	t.Logf("%d rounds: descriptors %d to %d, memory %d to %d kB", rounds, descriptors, after, memory, used)
	d.accounted(t)
}
