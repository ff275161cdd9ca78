package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// TestSourceChanges lets one instance listen, end connections on their way, and listen
// again, in every mode, while daemon and server go on: each reload leaves one way to
// the server, and nothing of the other.
func TestSourceChanges(t *testing.T) {
	l := up(t, lab.Options{})
	p := origin(t, l.Server, "[::]:0")
	listening := func(network, mode string) string {
		return fmt.Sprintf("version: 1\ninstances:\n  - name: web\n    source: listen\n    listen: %q\n    upstream: %q\n    chain: [http]\n    mode: %s\n",
			hostPort(l.Proxy, network, 8080), hostPort(l.Server, network, p), mode)
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			d := start(t, l, listening(f.network, "repair"))
			front := hostPort(l.Proxy, f.network, 8080)
			for _, mode := range []string{"monitor", "strict", "repair"} {
				d.configure(t, listening(f.network, mode))
				d.do(t, "reload")
				if seen, _ := asked(t, l, f.network, front); seen.Addr() == l.Client.Addr(f.network) {
					t.Errorf("%s, listening: the server sees %v", mode, seen)
				}
				if n := diverted(t, l.Proxy); n > 0 {
					t.Errorf("%s, listening: %d policy rules are left", mode, n)
				}
				d.configure(t, ended(l.Server, p, "http", "    mode: "+mode+"\n"))
				d.do(t, "reload")
				if seen, own := asked(t, l, f.network, hostPort(l.Server, f.network, p)); seen != own {
					t.Errorf("%s, on the way: the server sees %v, and the client is %v", mode, seen, own)
				}
				if _, err := l.Client.Dial(within(t, patience), f.network, front); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s, on the way: the listener: %v", mode, err)
				}
				if i := d.instances(t); len(i) != 1 || i[0].Mode != mode || i[0].Messages == nil || !strings.Contains(i[0].Hook, "prerouting") {
					t.Errorf("%s, on the way: instances %+v", mode, i)
				}
			}
			d.stop(t)
			if n, names := diverted(t, l.Proxy), tables(t, l); n+len(names) > 0 {
				t.Errorf("left: %d policy rules, tables %v", n, names)
			}
		})
	}
}
