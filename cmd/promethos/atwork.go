package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/ppf"
)

// atWork is what carries a configuration out for protect.
type atWork interface {
	change(yaml string) error // to another one, in its place
	ledger() ([]ppf.LedgerLine, error)
	events(after uint64) ([]ppf.Event, error)
	ended() <-chan struct{}
	end() error // everything is as it was
}

// own is a daemon of this process, with a file in a folder of its own.
type own struct {
	*daemon.Daemon
	dir string
}

func runOwn(g *global, yaml string) (_ atWork, err error) {
	o := own{}
	if o.dir, err = os.MkdirTemp("", "promethos-protect-"); err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	if err = o.write(yaml); err == nil {
		o.Daemon, err = daemon.Start(daemon.Options{Path: o.file(), Control: g.control, Log: os.Stderr})
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(o.dir))
	}
	return o, nil
}

func (o own) file() string { return filepath.Join(o.dir, "promethos.yaml") }

func (o own) write(yaml string) error {
	if err := os.WriteFile(o.file(), []byte(yaml), 0o600); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	return nil
}

func (o own) change(yaml string) error {
	if err := o.write(yaml); err != nil {
		return err
	}
	return changed(o.Reload(context.Background()))
}

// changed makes an error of a reload's problems.
func changed(r control.ReloadResult, err error) error {
	if err == nil && len(r.Problems) > 0 {
		err = fmt.Errorf("protect: %s", strings.Join(r.Problems, "; "))
	}
	return err
}

func (o own) ledger() ([]ppf.LedgerLine, error) { return o.Engine().Ledger(), nil }

func (o own) events(after uint64) (all []ppf.Event, _ error) {
	for {
		list, _ := o.Engine().Events().Since(after)
		if len(list) == 0 {
			return all, nil
		}
		all, after = append(all, list...), list[len(list)-1].Seq
	}
}

func (o own) ended() <-chan struct{} { return o.Stopped() }

func (o own) end() error { return errors.Join(stopDaemon(o.Daemon), os.RemoveAll(o.dir)) }

// beside are instances that a daemon runs beside those of its file.
type beside struct {
	client *control.Client
	added  *control.Added
	names  []string
}

func runBeside(g *global, yaml string) (atWork, error) {
	b := &beside{client: control.NewClient(g.control)}
	var err error
	if b.added, err = b.client.Add(context.Background(), yaml); err != nil {
		return nil, err
	}
	if err := changed(b.added.Result, nil); err != nil {
		return nil, err
	}
	spec, _ := config.Parse("protect", []byte(yaml)) // it has been parsed before
	for _, in := range spec.Instances {
		b.names = append(b.names, in.Name)
	}
	return b, nil
}

func (b *beside) change(yaml string) error {
	return changed(b.added.Change(context.Background(), yaml))
}

func (b *beside) ledger() ([]ppf.LedgerLine, error) {
	list, err := b.client.Ledger(context.Background())
	return slices.DeleteFunc(list, func(l ppf.LedgerLine) bool { return !slices.Contains(b.names, l.Instance) }), err
}

func (b *beside) events(after uint64) (list []ppf.Event, err error) {
	err = b.client.EventsSince(context.Background(), after, func(e ppf.Event) error {
		if !slices.Contains(b.names, e.Instance) {
			e.Record = nil // somebody else's
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

func (b *beside) ended() <-chan struct{} { return b.added.Ended() }

func (b *beside) end() error { return b.added.Close() }
