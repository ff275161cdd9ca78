package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
)

func newRun(g *global) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "run -c FILE", Short: "run the daemon in the foreground", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			socket := ""
			if c.Flags().Changed("control") {
				socket = g.control
			}
			return runDaemon(path, socket)
		},
	}
	configFlag(c, &path)
	return c
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "", "configuration `FILE`; always given")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if *path == "" {
			return usageError{fmt.Errorf("%s: no configuration is named (usage: promethos %s)", c.Name(), c.Use)}
		}
		return nil
	}
}

// stopWithin bounds an orderly end.
const stopWithin = 10 * time.Second

// runDaemon runs until SIGTERM or SIGINT; SIGHUP reloads.
func runDaemon(path, socket string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	debug.SetGCPercent(gcPercent)
	d, err := daemon.Start(daemon.Options{Path: path, Control: socket, State: os.Getenv("STATE_DIRECTORY"), Log: os.Stderr, Warn: printProblem})
	if err != nil {
		return refusedConfig(err)
	}
	fmt.Fprintln(os.Stderr, "ready")
	notify("READY=1")
	ctx, stopped := context.WithCancel(context.Background())
	defer stopped()
	go watchdog(ctx, d)
	go collect(ctx)
	for {
		select {
		case <-d.Stopped():
			return stopDaemon(d)
		case s := <-signals:
			if s != syscall.SIGHUP {
				notify("STOPPING=1")
				return stopDaemon(d)
			}
			reload(d)
		}
	}
}

func stopDaemon(d *daemon.Daemon) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return d.Stop(ctx)
}

// reload does what SIGHUP asks; a refused configuration changes nothing.
func reload(d *daemon.Daemon) {
	r, err := d.Reload(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "promethos: reload: %v\n", err)
		return
	}
	for _, p := range r.Problems {
		fmt.Fprintf(os.Stderr, "promethos: %s\n", p)
	}
	for _, change := range r.Changes {
		fmt.Fprintf(os.Stderr, "reloaded: %s\n", change)
	}
}

// refusedConfig prints all problems of a configuration and gives the exit
// status for it; other errors it hands on.
func refusedConfig(err error) error {
	var refused *daemon.ConfigError
	if !errors.As(err, &refused) {
		return err
	}
	for _, p := range refused.Problems {
		printProblem(p)
	}
	return silentError{exitUsage}
}

func printProblem(p ppf.Problem) {
	kind := ""
	if p.Warning {
		kind = "warning: "
	}
	fmt.Fprintf(os.Stderr, "promethos: %s%v\n", kind, p)
}

// watchdog tells systemd that the daemon lives, as often as WATCHDOG_USEC asks
// (sd_watchdog_enabled(3)). Measure takes each worker's lock: while one hangs,
// nothing is told, and systemd starts the daemon anew.
func watchdog(ctx context.Context, d *daemon.Daemon) {
	micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || micros <= 1 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	tick := time.NewTicker(time.Duration(micros) * time.Microsecond / 2)
	defer tick.Stop()
	for {
		d.Engine().Measure()
		notify("WATCHDOG=1")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// notifyWithin is how long systemd may take to take a message: one that does not
// read keeps the daemon neither from its work nor from its end.
const notifyWithin = time.Second

// notify tells systemd, if it started us (sd_notify(3)).
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		fmt.Fprintf(os.Stderr, "promethos: sd_notify: %v\n", err)
		return
	}
	defer c.Close()
	err = c.SetWriteDeadline(time.Now().Add(notifyWithin))
	if err == nil {
		_, err = c.Write([]byte(state))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "promethos: sd_notify: %v\n", err)
	}
}

func newCheck(g *global) *cobra.Command {
	var path string
	var plan bool
	c := &cobra.Command{
		Use: "check -c FILE", Short: "validate a configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return check(g, path, plan) },
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&plan, "plan", false, "print the kernel rules it would make")
	return c
}

func check(g *global, path string, plan bool) error {
	spec, problems := config.Load(path)
	wrong := 0
	for _, p := range problems {
		if !p.Warning {
			wrong++
		}
		if !g.json {
			printProblem(p)
		}
	}
	if problems == nil {
		problems = []ppf.Problem{}
	}
	var planned string
	if plan && wrong == 0 {
		rs, err := planRules(spec)
		if err != nil {
			return err
		}
		planned = rs.String() + rules.SilenceText(daemon.Ports(spec))
	}
	switch {
	case g.json && plan:
		err := printJSON(os.Stdout, struct {
			Problems []ppf.Problem `json:"problems"`
			Rules    string        `json:"rules"`
		}{problems, planned})
		if err != nil {
			return err
		}
	case g.json:
		if err := printJSON(os.Stdout, problems); err != nil {
			return err
		}
	case wrong == 0 && plan:
		fmt.Print(planned)
	case wrong == 0:
		fmt.Printf("%s: %d instances, no problem\n", path, len(spec.Instances))
	}
	if wrong > 0 {
		return silentError{exitUsage}
	}
	return nil
}

// planRules compiles the kernel rules of a configuration without touching
// anything.
func planRules(spec *ppf.Spec) (*rules.Ruleset, error) {
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1, PluginConfig: spec.Plugins})
	if err != nil {
		return nil, err
	}
	defer e.Close(context.Background())
	if _, err := e.Apply(spec); err != nil {
		return nil, err
	}
	return rules.Compile(daemon.Plan(spec, e), rules.Features{Queue: rules.QueueNative, Defragment: true, Own: true, Flood: true})
}

func newIPTables(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "iptables -t promethos OPERATION …",
		Short: "make and list rules of the running daemon in the thesis' syntax",
		Long: `Makes, lists and removes rules of the running daemon (thesis appendix A).

  -t promethos                 the table; always given
  -A CHAIN RULE                append a rule; prints "got unique instance N"
  -I CHAIN [NUMBER] RULE       insert it, at NUMBER or as the first
  -R CHAIN NUMBER RULE         replace one
  -D CHAIN NUMBER|RULE         delete one
  -F [CHAIN]                   delete all that commands made
  -L [CHAIN] [-n] [-v] [--line-numbers]   list
  -S [CHAIN] [--yaml]          print as commands, or as a configuration file
  -Z                           set the counters to zero

CHAIN is PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING. RULE is
  [!] -p PROTOCOL  [!] -s ADDRESS[/BITS][,…]  [!] -d ADDRESS[/BITS][,…]
  [!] --sport PORT[:PORT]  [!] --dport PORT[:PORT]  -m multiport --dports LIST
  [!] -i DEVICE  [!] -o DEVICE  -4 | -6
  -j PROMETHOS --plugin PROXY|TEST --autoinstance --config 'STRING'
and STRING for PROXY is 'cs LAYER f1,f2.' or 'sc INSTANCE f3.'`,
		DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			args, help := globalFlags(g, args)
			if help || len(args) == 0 {
				return c.Help()
			}
			return iptables(c.Context(), g, args)
		},
	}
}

// globalFlags takes --control and --json out of arguments that the flag parser
// does not see.
func globalFlags(g *global, args []string) (rest []string, help bool) {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--help" || args[i] == "-h":
			return nil, true
		case args[i] == "--json":
			g.json = true
		case args[i] == "--control" && i+1 < len(args):
			i++
			g.control = args[i]
		default:
			rest = append(rest, args[i])
		}
	}
	return rest, false
}

func iptables(ctx context.Context, g *global, args []string) error {
	if _, problems := config.ParseIPTables(args); len(problems) > 0 {
		for _, p := range problems {
			printProblem(p)
		}
		return silentError{exitUsage}
	}
	r, err := control.NewClient(g.control).IPTables(ctx, args)
	if err != nil {
		return err
	}
	if g.json {
		if err := printJSON(os.Stdout, r); err != nil {
			return err
		}
	} else {
		fmt.Print(r.Output)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(os.Stderr, "promethos: %s\n", e)
	}
	if r.Code != 0 {
		return silentError{r.Code}
	}
	return nil
}

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit"`
				Go      string `json:"go"`
			}{Version: daemon.Version}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Go = info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			if g.json {
				return printJSON(os.Stdout, v)
			}
			if v.Commit == "" {
				v.Commit = "(commit unknown)"
			}
			fmt.Printf("promethos %s %s %s\n", v.Version, v.Commit, v.Go)
			return nil
		},
	}
}
