package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// untilSignal is a context that ends with SIGINT or SIGTERM.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

func newInstances(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "instances", Short: "list the proxy instances", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := control.NewClient(g.control).Instances(c.Context())
			if err != nil {
				return err
			}
			return show(g, list, []string{"NAME", "ORIGIN", "CS", "SC", "HOOK", "CHAIN", "MODE", "CONNECTIONS", "IN", "SENT", "UNCHANGED", "DROPPED", "MESSAGES"},
				func(i ppf.InstanceInfo) []string {
					cs, sc := i.Flow[0], i.Flow[1]
					return []string{
						i.Name, i.Origin, i.Number[0].String(), i.Number[1].String(), i.Hook, chainText(i), modeText(i), strconv.Itoa(i.Connections),
						count(cs.In + sc.In), count(cs.Sent + sc.Sent), count(cs.Unchanged + sc.Unchanged), count(cs.Dropped + sc.Dropped), messagesText(i),
					}
				})
		},
	}
}

// messagesText counts the messages of a chain that has some, or streams where a
// function carries bytes.
func messagesText(i ppf.InstanceInfo) string {
	if i.Messages == nil {
		return "-"
	}
	return count(i.Messages[0].In + i.Messages[1].In)
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func chainText(i ppf.InstanceInfo) string {
	cs, sc := strings.Join(i.Chain[0], ","), strings.Join(i.Chain[1], ",")
	switch {
	case cs == sc:
		return cs
	case sc == "":
		return cs + " (cs only)"
	}
	return cs + " / " + sc
}

func modeText(i ppf.InstanceInfo) string {
	switch {
	case !i.Protecting:
		return i.Mode + " (NOT PROTECTING)"
	case i.Cookies != nil && i.Cookies.Active:
		return i.Mode + " (SYN cookies)"
	}
	return i.Mode
}

func newShow(g *global) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "show one thing in full"}
	c.AddCommand(&cobra.Command{
		Use: "instance NAME|NUMBER", Short: "show one proxy instance in full", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return showInstance(c.Context(), g, args[0]) },
	})
	return c
}

func showInstance(ctx context.Context, g *global, name string) error {
	client := control.NewClient(g.control)
	list, err := client.Instances(ctx)
	if err != nil {
		return err
	}
	for _, i := range list {
		if i.Name != name && i.Number[0].String() != name && i.Number[1].String() != name {
			continue
		}
		reasons, err := client.Reasons(ctx)
		if err != nil {
			return err
		}
		mine := []ppf.ReasonCountInfo{}
		for _, r := range reasons {
			if r.Instance == i.Name {
				mine = append(mine, r)
			}
		}
		if g.json {
			return printJSON(os.Stdout, struct {
				ppf.InstanceInfo
				Reasons []ppf.ReasonCountInfo `json:"reasons"`
			}{i, mine})
		}
		return printInstance(i, mine)
	}
	return fmt.Errorf("instance %s: there is none (`promethos instances` lists them)", name)
}

func printInstance(i ppf.InstanceInfo, reasons []ppf.ReasonCountInfo) error {
	fmt.Printf("instance     %s (%s)\nmode         %s\nconnections  %d\n", i.Name, i.Origin, modeText(i), i.Connections)
	if c := i.Cookies; c != nil {
		state := "not needed"
		if c.Active {
			state = "in use"
		}
		fmt.Printf("SYN cookies  %s; sent %d, opened %d connections, %d segments without a good one\n", state, c.Sent, c.Opened, c.Refused)
	}
	for d, f := range i.Flow {
		if i.Number[d] == 0 {
			fmt.Printf("%v  none: a half instance\n", ppf.Dir(d))
			continue
		}
		fmt.Printf("%v  number     %v\n    taken at   %s\n    match      %s\n    layer      %d\n    functions  %s\n",
			ppf.Dir(d), i.Number[d], strings.Join(i.Hooks[d], ", "), i.Match[d], i.Layer[d], strings.Join(i.Chain[d], ","))
		if i.Hook != ppf.HookNone.String() { // of a listener no packet is seen
			fmt.Printf("    packets    in %d, sent %d (repaired %d), unchanged %d, dropped %d, queued %d, stolen %d, merged %d, held %d; extra %d, split %d\n",
				f.In, f.Sent, f.Repaired, f.Unchanged, f.Dropped, f.Queued, f.Stolen, f.Merged, f.Held, f.Emitted, f.Split)
		}
		if i.Messages != nil {
			m := i.Messages[d]
			fmt.Printf("    messages   in %d, built anew %d, unchanged %d, refused %d; %d octets\n", m.In, m.Sent, m.Unchanged, m.Dropped, m.InBytes)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	fmt.Println()
	return printReasons(reasons)
}

func newFunctions(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "functions", Short: "list the registered user functions", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := control.NewClient(g.control).Functions(c.Context())
			if err != nil {
				return err
			}
			return show(g, list, []string{"NAME", "MODULE", "LEVEL", "LAYER", "USED BY", "WHAT IT DOES"}, func(f control.FunctionInfo) []string {
				return []string{f.Name, f.Module, f.Level, strconv.Itoa(int(f.Layer)), strings.Join(f.UsedBy, ","), f.Doc}
			})
		},
	}
}

func newModules(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "modules", Short: "list the proxy framework modules", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := control.NewClient(g.control).Modules(c.Context())
			if err != nil {
				return err
			}
			return show(g, list, []string{"NAME", "ALIASES", "KIND", "VERSION", "STATE", "FAULTS", "FUNCTIONS", "WHAT IT DOES"}, func(m control.ModuleInfo) []string {
				return []string{m.Name, strings.Join(m.Aliases, ","), m.Kind, m.Version, m.State, count(m.Faults), strings.Join(m.Functions, ","), m.Doc}
			})
		},
	}
}

func newConnections(g *global) *cobra.Command {
	var q control.ConnectionQuery
	c := &cobra.Command{
		Use: "connections", Short: "list the tracked connections", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := control.NewClient(g.control).Connections(c.Context(), q)
			if err != nil {
				return err
			}
			return show(g, list, []string{"INSTANCE", "CLIENT", "SERVER", "PROTOCOL", "STATE", "CLIENT SIDE", "SERVER SIDE", "PACKETS", "BYTES", "TRANSLATION", "SENT AS", "ABOUT"},
				func(c ppf.ConnectionInfo) []string {
					about, translation := c.About, ""
					if c.Leg != "" {
						about = "leg to the " + c.Leg
					}
					if c.CS.Translation != 0 || c.SC.Translation != 0 {
						translation = fmt.Sprintf("+%d/+%d", c.CS.Translation, c.SC.Translation)
					}
					return []string{
						c.Instance, c.Client, c.Server, c.Protocol, c.State, c.CS.Received, c.SC.Received,
						count(c.CS.Packets) + "/" + count(c.SC.Packets), count(c.CS.Bytes) + "/" + count(c.SC.Bytes), translation, c.SentAs, about,
					}
				})
		},
	}
	c.Flags().StringVar(&q.Instance, "instance", "", "only those of instance `NAME`")
	c.Flags().StringVar(&q.Protocol, "protocol", "", "only those of `PROTOCOL`, such as tcp")
	c.Flags().StringVar(&q.State, "state", "", "only those in `STATE`, such as ESTABLISHED")
	c.Flags().StringVar(&q.Client, "client", "", "only those of clients in `NETWORK`, or of one address")
	c.Flags().StringVar(&q.Server, "server", "", "only those with servers in `NETWORK`, or with one address")
	c.Flags().Uint16Var(&q.Port, "port", 0, "only those with `PORT` of the server")
	c.Flags().IntVar(&q.Limit, "limit", 1000, "at most `N`; 0 lists all")
	return c
}

func newReasons(g *global) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "reasons", Short: "list why packets were dropped or repaired, with counts", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if all {
				return listReasons(g)
			}
			list, err := control.NewClient(g.control).Reasons(c.Context())
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(os.Stdout, list)
			}
			return printReasons(list)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "list every reason there is, without a daemon")
	return c
}

func printReasons(list []ppf.ReasonCountInfo) error {
	rows := make([][]string, len(list))
	for i, r := range list {
		rows[i] = []string{r.Reason, r.Instance, count(r.Count), r.Action, r.RFC, strings.Join(r.CVE, " ")}
	}
	return printTable(os.Stdout, []string{"REASON", "INSTANCE", "COUNT", "ACTION", "RFC", "CVE"}, rows)
}

// reasonText is one line of `reasons --all`.
type reasonText struct {
	Reason string   `json:"reason"`
	Class  string   `json:"class"`
	Field  string   `json:"field"`
	RFC    string   `json:"rfc"`
	CVE    []string `json:"cve"`
	Doc    string   `json:"doc"`
	Trips  string   `json:"trips"`
	Relax  string   `json:"relax"`
}

func listReasons(g *global) error {
	var list []reasonText
	for _, r := range packet.Reasons() {
		i := r.Info()
		list = append(list, reasonText{i.Name, i.Class.String(), i.Field, i.RFC, i.CVE, i.Doc, i.Trips, i.Relax})
	}
	return show(g, list, []string{"REASON", "CLASS", "FIELD", "RFC", "WHAT IT MEANS", "RELAX"}, func(r reasonText) []string {
		return []string{r.Reason, r.Class, r.Field, r.RFC, r.Doc, r.Relax}
	})
}

func newStats(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "show the accounting of all packets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := control.NewClient(g.control).Stats(c.Context())
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(os.Stdout, s)
			}
			for _, f := range []struct {
				name string
				ppf.FlowCounters
			}{{"instances", s.Packets}, {"no instance", s.Unmatched}} {
				fmt.Printf("%-12s in %d = sent %d + unchanged %d + dropped %d + queued %d + stolen %d + merged %d + held %d; extra packets %d, split %d\n",
					f.name, f.In, f.Sent, f.Unchanged, f.Dropped, f.Queued, f.Stolen, f.Merged, f.Held, f.Emitted, f.Split)
			}
			fmt.Printf("connections  %d\n\n", s.Connections)
			rows := make([][]string, len(s.Sources))
			for i, q := range s.Sources {
				rows[i] = []string{q.Name, count(q.Received), count(q.Sent), count(q.Emitted), count(q.Depth), count(q.KernelDropped), count(q.SocketDropped), count(q.VerdictErrors)}
			}
			if err := printTable(os.Stdout, []string{"QUEUE", "RECEIVED", "LET GO", "EMITTED", "WAITING", "KERNEL DROPPED", "SOCKET DROPPED", "VERDICT ERRORS"}, rows); err != nil {
				return err
			}
			fmt.Println("\ndropped by the kernel before us, since the machine started:")
			rows = nil
			for _, k := range s.Kernel {
				rows = append(rows, []string{k.Family, k.Counter, count(k.Count)})
			}
			return printTable(os.Stdout, []string{"FAMILY", "COUNTER", "PACKETS"}, rows)
		},
	}
}
