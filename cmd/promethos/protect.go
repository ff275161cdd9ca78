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
	"github.com/promethos/promethos/protect"
)

// defaultConfig is where the systemd unit looks.
const defaultConfig = "/etc/promethos/promethos.yaml"

// protectOptions are the flags of protect.
type protectOptions struct {
	wish  protect.Wish
	ports []string // of a wire
	try   uint
	save  bool
	print bool
	now   bool
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

On a bridge the two ports become a bump in the wire, and what is for others passes rebuilt too. It starts in monitor there,
and protects when Enter is pressed: it prints before what would be refused. At the end the bridge carries frames again.

  --monitor       drop and mend nothing, count what would be: the first thing to do
  --try SECONDS   end, and leave nothing behind, unless Enter is pressed in that time
  --save          write the configuration to FILE too, with on_exit: block, for promethos run -c FILE
  --inline C,S    stand in the wire between two interfaces, the one towards the clients first; a bridge is asked for them
  --ethertypes L  frames that pass such a wire with their payload unread, such as profinet,lldp,0x88f7
  --now           protect a wire at once, without the look in monitor
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
	c.Flags().StringSliceVar(&o.ports, "inline", nil, "stand in the wire between two `PORTS`, the one towards the clients first")
	c.Flags().StringSliceVar(&o.wish.EtherTypes, "ethertypes", nil, "`TYPES` of frames that pass a wire with their payload unread")
	c.Flags().BoolVar(&o.now, "now", false, "protect a wire at once, without a look in monitor before")
	c.Flags().UintVar(&o.try, "try", 0, "end after `SECONDS` unless Enter is pressed before")
	c.Flags().BoolVar(&o.save, "save", false, "write the configuration to a file too")
	c.Flags().BoolVar(&o.print, "print", false, "print the configuration and do nothing")
	c.Flags().StringVar(&o.file, "config", defaultConfig, "`FILE` for --save")
	return c
}

func runProtect(ctx context.Context, g *global, o protectOptions) error {
	facts, err := findFacts(o.wish.Server.Unmap(), o.ports)
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
	p := protection{protectOptions: o, facts: facts, signals: make(chan os.Signal, 4)}
	if s, err := control.NewClient(g.control).Status(ctx); err == nil {
		fmt.Fprintf(os.Stderr, "promethos: a daemon runs already, process %d: the instances run beside those of %s until this ends\n", s.PID, s.Config)
		if o.save && sameFile(o.file, s.Config) {
			return fmt.Errorf("protect: %s is what that daemon runs (save to another file with --config, and name that under `include:` in %s)", o.file, s.Config)
		}
		p.beside = s.Config
	}
	return p.untilEnd(g, plan)
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

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// protection is a plan at work.
type protection struct {
	protectOptions
	facts   protect.Facts
	beside  string // the file of a daemon that runs already; "": the plan has one of its own
	at      atWork
	signals chan os.Signal
	lines   <-chan struct{} // the operator pressed Enter; closed with the input
	seen    sight
}

// untilEnd runs the plan in the foreground. The end of the terminal ends it too, so
// that who is cut off gets back in.
func (p *protection) untilEnd(g *global, plan *protect.Plan) (err error) {
	look := p.facts.Wire != nil && !p.now && !p.wish.Monitor
	if look {
		watched := p.wish
		watched.Monitor = true
		if plan, err = protect.Compose(watched, p.facts); err != nil {
			return err
		}
	}
	signal.Notify(p.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if p.beside != "" {
		p.at, err = runBeside(g, plan.YAML)
	} else {
		p.at, err = runOwn(g, plan.YAML)
	}
	if err != nil {
		return refusedConfig(err)
	}
	p.lines = enters(os.Stdin)
	fmt.Fprintln(os.Stderr, "ready")
	return errors.Join(p.serve(look), p.at.end())
}

// serve goes through what was asked for, and returns when it is over.
func (p *protection) serve(look bool) error {
	if look {
		fmt.Fprintln(os.Stderr, "promethos: monitor: NOT PROTECTING yet; press Enter to see what would be refused, and to protect")
		if !p.pressed(0) {
			return p.tell()
		}
		if err := p.protect(); err != nil {
			return err
		}
	}
	if p.try > 0 {
		fmt.Fprintf(os.Stderr, "promethos: it ends in %d s unless you press Enter\n", p.try)
		if !p.pressed(time.Duration(p.try) * time.Second) {
			fmt.Fprintln(os.Stderr, "promethos: not confirmed: everything is as it was")
			return nil
		}
		fmt.Fprintln(os.Stderr, "promethos: confirmed")
	}
	if p.save {
		if err := p.saveFile(); err != nil {
			return err
		}
	}
	p.wait(nil, 0)
	if p.facts.Wire != nil && p.wish.Monitor {
		return p.tell()
	}
	return nil
}

// protect tells what was seen in monitor, and goes on without it.
func (p *protection) protect() error {
	if err := p.tell(); err != nil {
		return err
	}
	plan, err := protect.Compose(p.wish, p.facts)
	if err == nil {
		err = p.at.change(plan.YAML)
	}
	if err == nil {
		fmt.Fprintln(os.Stderr, "promethos: protecting")
	}
	return err
}

func (p *protection) tell() error {
	ledger, err := p.at.ledger()
	if err == nil {
		err = p.look()
	}
	if err == nil {
		p.seen.tell(os.Stderr, ledger)
	}
	return err
}

// look reads what has happened.
func (p *protection) look() error {
	events, err := p.at.events(p.seen.last)
	p.seen.read(events)
	return err
}

// pressed waits for Enter, for so long at most unless within is 0.
func (p *protection) pressed(within time.Duration) bool { return p.wait(p.lines, within) }

// sightings is how often what was seen is read out of the ring of events.
const sightings = time.Second

// wait waits for a line, a time unless it is 0, a signal or the end of the daemon,
// and reports whether it was the line. The end of the input is none.
func (p *protection) wait(lines <-chan struct{}, within time.Duration) bool {
	var over <-chan time.Time
	if within > 0 {
		t := time.NewTimer(within)
		defer t.Stop()
		over = t.C
	}
	look := time.NewTicker(sightings)
	defer look.Stop()
	for {
		select {
		case _, pressed := <-lines:
			if pressed {
				return true
			}
			lines = nil
		case <-look.C:
			if err := p.look(); err != nil {
				fmt.Fprintf(os.Stderr, "promethos: %v\n", err)
			}
		case <-over:
			return false
		case <-p.signals:
			return false
		case <-p.at.ended():
			return false
		}
	}
}

// enters tells of each line of in, and closes at its end.
func enters(in io.Reader) <-chan struct{} {
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		for r := bufio.NewReader(in); ; lines <- struct{}{} {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	return lines
}

// saveFile writes what `promethos run` is to be started with: the same, and closed
// when it ends. For a daemon that runs it is a file that its own includes.
func (p *protection) saveFile() error {
	w := p.wish
	w.Block = p.beside == ""
	plan, err := protect.Compose(w, p.facts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o755); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	if err := os.WriteFile(p.file, []byte(plan.YAML), 0o644); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	if p.beside != "" {
		fmt.Fprintf(os.Stderr, "promethos: saved to %s; name it under `include:` in %s, `promethos reload`, and end this\n", p.file, p.beside)
		return nil
	}
	fmt.Fprintf(os.Stderr, "promethos: saved to %s; end this and start the service, or `promethos run -c %s`\n", p.file, p.file)
	return nil
}
