package main

import (
	"errors"
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
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`
	Fix  string `json:"fix,omitempty"`
}

func newDoctor(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "tell what this machine can do, and what is missing", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list := []finding{capability("CAP_NET_ADMIN", unix.CAP_NET_ADMIN), capability("CAP_NET_RAW", unix.CAP_NET_RAW)}
			list = append(list, kernelRules()...)
			list = append(list, queues(), forwarding("net.ipv4.ip_forward"), forwarding("net.ipv6.conf.all.forwarding"), namespaces())
			status := finding{What: "daemon", OK: true, Says: "none answers at " + g.control}
			if s, err := control.NewClient(g.control).Status(c.Context()); err == nil {
				status.Says = fmt.Sprintf("running: version %s, process %d, %d queues, %s", s.Version, s.PID, s.Workers, s.Queue)
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
				return []string{f.What, ok, f.Says, f.Fix}
			})
			if err == nil && failed {
				return silentError{exitFailed}
			}
			return err
		},
	}
}

func capability(name string, number int) finding {
	f := finding{What: name, Says: "effective", OK: true}
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil || data[number/32].Effective&(1<<(number%32)) == 0 {
		f.OK, f.Says, f.Fix = false, "missing", "run as root, or give the program the capability with setcap"
	}
	return f
}

// kernelRules tells of nf_tables, the way to queue, and our table.
func kernelRules() []finding {
	tables := finding{What: "nf_tables"}
	queue := finding{What: "queue target"}
	k, err := rules.OpenKernel()
	if err != nil {
		tables.Says = err.Error()
		return []finding{tables}
	}
	defer k.Close()
	features, err := k.Probe()
	if err != nil {
		tables.OK = errors.Is(err, rules.ErrNoQueueTarget)
		queue.Says = err.Error()
		if !tables.OK {
			tables.Says = err.Error()
			return []finding{tables}
		}
		tables.Says = "there"
		return []finding{tables, queue}
	}
	tables.OK, tables.Says = true, "there"
	queue.OK, queue.Says = true, features.Queue.String()
	own := finding{What: "our rules", OK: true}
	state, err := k.State()
	if err != nil {
		own.OK, own.Says = false, err.Error()
		return []finding{tables, queue, own}
	}
	own.Says = state.String()
	numbers, err := k.Queues()
	if err == nil && state == rules.StateActive {
		for _, n := range numbers {
			if nfqueue.Owner(n) == "" {
				own.OK, own.Says = false, fmt.Sprintf("active, but nobody handles queue %d: what it selects is dropped", n)
				own.Fix = "start the daemon again, or `promethos unblock`"
			}
		}
	}
	if state == rules.StateBlock {
		own.Says, own.Fix = "block: what was protected is dropped", "start the daemon, or `promethos unblock`"
	}
	return []finding{tables, queue, own}
}

// queues tells whether nfnetlink_queue is there.
func queues() finding {
	f := finding{What: "NFQUEUE", OK: true, Says: "there"}
	if _, err := os.Stat("/proc/net/netfilter/nfnetlink_queue"); err != nil {
		f.OK, f.Says = false, "nfnetlink_queue is missing"
		f.Fix = "modprobe nfnetlink_queue, or a kernel with CONFIG_NETFILTER_NETLINK_QUEUE"
	}
	return f
}

// forwarding tells whether this machine routes; only instances at forward,
// prerouting and postrouting need it.
func forwarding(key string) finding {
	f := finding{What: key, OK: true}
	value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	switch {
	case err != nil:
		f.Says = "unknown: " + err.Error()
	case strings.TrimSpace(string(value)) == "0":
		f.Says, f.Fix = "off: packets are not forwarded", "sysctl -w "+key+"=1, if this machine stands between client and server"
	default:
		f.Says = "on"
	}
	return f
}

// namespaces tells whether demo and lab can run here.
func namespaces() finding {
	f := finding{What: "network namespaces", OK: true, Says: "can be made: demo, lab and bench work"}
	if err := lab.Available(); err != nil {
		f.OK, f.Says = false, err.Error()
		f.Fix = "demo and bench enter a user namespace by themselves where the kernel allows it"
	}
	return f
}
