package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

// watchBlocked blocks what a configuration selects, unless a daemon does better,
// and closes each port of its inline pairs as soon as it is there.
func watchBlocked(ctx context.Context, path string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	spec, err := blockable(path)
	if err != nil {
		return err
	}
	// Whoever looks first and asks for news then misses what comes in between.
	links, fail := make(chan netlink.LinkUpdate), make(chan error, 1)
	err = netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) {
			select {
			case fail <- err:
			default: // the first says why it ends
			}
		},
	})
	if err != nil {
		return fmt.Errorf("block: watch interfaces: %w", err)
	}
	w := portWatch{path: path, ports: daemon.Ports(spec), looked: map[string]int{}}
	if w.silence, err = rules.OpenSilence(); err != nil {
		return err
	}
	defer w.silence.Close()
	if who := nfqueue.Claimed(); who != "" {
		fmt.Fprintf(os.Stderr, "a daemon is there: %s; ports are watched\n", who)
	} else {
		if err := blockSelected(spec); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "blocked: what the %d instances of %s select\n", len(spec.Instances), path)
	}
	for _, port := range w.ports {
		if err := w.close(port); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "ready")
	notify("READY=1")
	for {
		select {
		case u, more := <-links:
			if !more {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("block: watch interfaces: %w", <-fail)
			}
			if err := w.seen(u); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// portWatch closes the ports of a configuration.
type portWatch struct {
	path    string
	silence *rules.Silence
	ports   []string
	looked  map[string]int // the index of the interface that was looked at, by name
}

// seen is told of each change of an interface. One that comes is looked up in the
// file as it is then; where that has problems, in the one before.
func (w *portWatch) seen(u netlink.LinkUpdate) error {
	name, index := u.Link.Attrs().Name, u.Link.Attrs().Index
	if u.Header.Type == syscall.RTM_DELLINK {
		if w.looked[name] == index {
			delete(w.looked, name)
		}
		return nil
	}
	if w.looked[name] == index {
		return nil
	}
	w.looked[name] = index
	if spec, problems := config.LoadSelection(w.path); !slices.ContainsFunc(problems, isWrong) {
		w.ports = daemon.Ports(spec)
	}
	if !slices.Contains(w.ports, name) {
		return nil
	}
	return w.close(name)
}

// close drops what comes in at a port, also before a bridge that it is a port of.
// One that is not there the kernel remembers from Linux 6.16 on; with others it is
// closed as soon as it is seen.
func (w *portWatch) close(port string) error {
	failed := w.silence.Add(port)
	link, err := netlink.LinkByName(port)
	switch {
	case err == nil && failed != nil:
		return failed
	case err == nil:
		w.looked[port] = link.Attrs().Index
		fmt.Fprintf(os.Stderr, "closed: %s\n", port)
	case errors.As(err, &netlink.LinkNotFoundError{}):
		fmt.Fprintf(os.Stderr, "%s is not there yet: it is closed when it comes\n", port)
	default:
		return fmt.Errorf("block: %s: %w", port, err)
	}
	return nil
}
