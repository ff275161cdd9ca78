package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

// finding is one line of doctor's report.
type finding = rules.Finding

func newDoctor(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "tell what this machine can do, and what is missing", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list := append([]finding{capability("CAP_NET_RAW", unix.CAP_NET_RAW)}, rules.Examine()...)
			list = append(list, queues(), orphans(), forwarding("net.ipv4.ip_forward"), forwarding("net.ipv6.conf.all.forwarding"))
			list = append(append(append(list, kernel()...), network()...), namespaces())
			status := finding{Name: "daemon", OK: true, Detail: "none answers at " + g.control}
			if s, err := control.NewClient(g.control).Status(c.Context()); err == nil {
				status.Detail = fmt.Sprintf("running: version %s, process %d, %d queues, %s", s.Version, s.PID, s.Workers, s.Queue)
			}
			list = append(list, status)
			failed := false
			for _, f := range list {
				failed = failed || !f.OK
			}
			err := show(g, list, []string{"WHAT", "OK", "SAYS", "HOW TO GET IT"}, func(f finding) []string {
				ok := "yes"
				if !f.OK {
					ok = "NO"
				}
				return []string{f.Name, ok, f.Detail, f.Fix}
			})
			if err == nil && failed {
				return silentError{exitFailed}
			}
			return err
		},
	}
}

func capability(name string, number int) finding {
	f := finding{Name: name, Detail: "effective", OK: true}
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil || data[number/32].Effective&(1<<(number%32)) == 0 {
		f.OK, f.Detail, f.Fix = false, "missing", "run as root, or give the program the capability with setcap"
	}
	return f
}

// orphans tells whether somebody handles the queues that our rules lead to.
func orphans() finding {
	f := finding{Name: "our queues", OK: true, Detail: "no rule of ours leads to a queue"}
	k, err := rules.OpenKernel()
	if err != nil {
		return f // Examine has told
	}
	defer k.Close()
	numbers, err := k.Queues()
	if err != nil {
		return f
	}
	for _, n := range numbers {
		owner := nfqueue.Owner(n)
		if owner == "" {
			f.OK, f.Detail = false, fmt.Sprintf("nobody handles queue %d: what our rules select is dropped", n)
			f.Fix = "start the daemon again, or `promethos unblock`"
			return f
		}
		f.Detail = "handled by " + owner
	}
	return f
}

// queues tells whether nfnetlink_queue is there.
func queues() finding {
	f := finding{Name: "NFQUEUE", OK: true, Detail: "there"}
	if _, err := os.Stat("/proc/net/netfilter/nfnetlink_queue"); err != nil {
		f.OK, f.Detail = false, "nfnetlink_queue is missing"
		f.Fix = "modprobe nfnetlink_queue, or a kernel with CONFIG_NETFILTER_NETLINK_QUEUE"
	}
	return f
}

// forwarding tells whether this machine routes; only instances at forward,
// prerouting and postrouting need it.
func forwarding(key string) finding {
	f := finding{Name: key, OK: true}
	switch sysctl(strings.ReplaceAll(key, ".", "/")) {
	case "":
		f.Detail = "unknown: this kernel does not tell"
	case "0":
		f.Detail, f.Fix = "off: packets are not forwarded", "sysctl -w "+key+"=1, if this machine stands between client and server"
	default:
		f.Detail = "on"
	}
	return f
}

// namespaces tells whether demo and lab can run here.
func namespaces() finding {
	f := finding{Name: "network namespaces", OK: true, Detail: "can be made: demo, lab and bench work"}
	if err := lab.Available(); err != nil {
		f.OK, f.Detail = false, err.Error()
		f.Fix = "demo and bench enter a user namespace by themselves where the kernel allows it"
	}
	return f
}
