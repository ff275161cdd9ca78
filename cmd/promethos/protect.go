package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/protect"
)

// defaultConfig is where the systemd unit looks.
const defaultConfig = "/etc/promethos/promethos.yaml"

// protectOptions are the flags of protect.
type protectOptions struct {
	wish  protect.Wish
	try   uint
	save  bool
	print bool
	file  string
}

func newProtect(g *global) *cobra.Command {
	o := protectOptions{}
	c := &cobra.Command{
		Use: "protect SERVER", Short: "protect one server, with what fits this machine", Args: cobra.ExactArgs(1),
		Long: `Protects one server: finds out how this machine stands between it and its clients, prints the configuration that
fits, and runs it in the foreground until it is interrupted.

Clients may open connections to the ports of --tcp and --udp, or without these to all; connections that the server
opens pass rebuilt; everything else to and from the server is refused. The SSH session it is typed in is never cut.

  --monitor       drop and mend nothing, count what would be: the first thing to do
  --try SECONDS   end, and leave nothing behind, unless Enter is pressed in that time
  --save          write the configuration to FILE too, with on_exit: block, for promethos run -c FILE
  --print         print the configuration and do nothing`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.wish.Server, err = netip.ParseAddr(args[0]); err != nil {
				return usageError{fmt.Errorf("protect: %q is not an address (write 192.0.2.1 or 2001:db8::1)", args[0])}
			}
			return runProtect(c.Context(), g, o)
		},
	}
	c.Flags().StringSliceVar(&o.wish.TCP, "tcp", nil, "`PORTS` that clients may use, such as 80,502-503")
	c.Flags().StringSliceVar(&o.wish.UDP, "udp", nil, "`PORTS` that clients may use, such as 53")
	c.Flags().BoolVar(&o.wish.Monitor, "monitor", false, "drop and mend nothing, count what would be")
	c.Flags().UintVar(&o.try, "try", 0, "end after `SECONDS` unless Enter is pressed before")
	c.Flags().BoolVar(&o.save, "save", false, "write the configuration to a file too")
	c.Flags().BoolVar(&o.print, "print", false, "print the configuration and do nothing")
	c.Flags().StringVar(&o.file, "config", defaultConfig, "`FILE` for --save")
	return c
}

func runProtect(ctx context.Context, g *global, o protectOptions) error {
	facts, err := findFacts(o.wish.Server.Unmap())
	if err != nil {
		return err
	}
	plan, err := protect.Compose(o.wish, facts)
	if err != nil {
		return err
	}
	if _, problems := config.Parse("protect", []byte(plan.YAML)); len(problems) > 0 {
		for _, p := range problems {
			if !p.Warning {
				return usageError{fmt.Errorf("protect: %w", p)}
			}
		}
	}
	fmt.Print(plan.YAML)
	for _, w := range plan.Warnings {
		fmt.Fprintf(os.Stderr, "promethos: warning: %s\n", w)
	}
	if plan.Advice != "" {
		fmt.Fprintf(os.Stderr, "promethos: advice: %s\n", plan.Advice)
	}
	if o.print {
		return nil
	}
	if o.save {
		if err := mayReplace(o.file); err != nil {
			return err
		}
	}
	if s, err := control.NewClient(g.control).Status(ctx); err == nil {
		return fmt.Errorf("protect: a daemon runs already, process %d with %s (add the instances printed above to its file, and `promethos reload`)", s.PID, s.Config)
	}
	return protectUntilEnd(g, o, plan, facts)
}

// written starts each file that protect may replace.
const written = "# Written by `promethos protect"

// mayReplace refuses to overwrite what somebody else wrote.
func mayReplace(file string) error {
	old, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("protect: %w", err)
	case !strings.HasPrefix(string(old), written):
		return fmt.Errorf("protect: %s was not written by protect (add the instances printed above to it by hand, or name another file with --config)", file)
	}
	return nil
}

// protectUntilEnd runs the plan in the foreground. The end of the terminal ends
// it too, so that who is cut off gets back in.
func protectUntilEnd(g *global, o protectOptions, plan *protect.Plan, facts protect.Facts) error {
	dir, err := os.MkdirTemp("", "promethos-protect-")
	if err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "promethos.yaml")
	if err := os.WriteFile(file, []byte(plan.YAML), 0o600); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	d, err := daemon.Start(daemon.Options{Path: file, Control: g.control, Log: os.Stderr})
	if err != nil {
		return refusedConfig(err)
	}
	fmt.Fprintln(os.Stderr, "ready")
	if o.try > 0 {
		fmt.Fprintf(os.Stderr, "promethos: it ends in %d s unless you press Enter\n", o.try)
		if !confirmed(os.Stdin, time.Duration(o.try)*time.Second, signals, d.Stopped()) {
			fmt.Fprintln(os.Stderr, "promethos: not confirmed: everything is as it was")
			return stopDaemon(d)
		}
		fmt.Fprintln(os.Stderr, "promethos: confirmed")
	}
	if o.save {
		if err := saveProtect(o, facts); err != nil {
			return errors.Join(err, stopDaemon(d))
		}
	}
	select {
	case <-d.Stopped():
	case <-signals:
	}
	return stopDaemon(d)
}

// confirmed waits for a line of in.
func confirmed(in io.Reader, within time.Duration, signals <-chan os.Signal, failed <-chan struct{}) bool {
	line := make(chan struct{})
	go func() {
		if _, err := bufio.NewReader(in).ReadString('\n'); err == nil {
			close(line)
		}
	}()
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case <-line:
		return true
	case <-over.C:
	case <-signals:
	case <-failed:
	}
	return false
}

// saveProtect writes what `promethos run` is to be started with: the same, and
// closed when it ends.
func saveProtect(o protectOptions, facts protect.Facts) error {
	o.wish.Block = true
	plan, err := protect.Compose(o.wish, facts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.file), 0o755); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	if err := os.WriteFile(o.file, []byte(plan.YAML), 0o644); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	fmt.Fprintf(os.Stderr, "promethos: saved to %s; end this and start the service, or `promethos run -c %s`\n", o.file, o.file)
	return nil
}
