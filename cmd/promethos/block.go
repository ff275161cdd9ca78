package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/inline"
	"github.com/promethos/promethos/source/nfqueue"
)

func newBlock() *cobra.Command {
	var path string
	var watch bool
	c := &cobra.Command{
		Use: "block -c FILE", Short: "drop what the instances of a configuration select, until the daemon runs or `promethos unblock`", Args: cobra.NoArgs,
		Long: `Installs the rules that on_exit: block leaves behind, without a daemon: what the instances of FILE select is dropped,
and nothing passes the ports of its inline pairs, even where a bridge joins them. A daemon that starts replaces the rules
with its own in one transaction. It is refused beside a daemon, and closes what a killed one left. A port that is not there yet is an
error before Linux 6.16, once the others are closed; with --watch it is closed when it comes, and a daemon that is there is left alone.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if watch {
				return watchBlocked(c.Context(), path)
			}
			return block(path)
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&watch, "watch", false, "go on, and close ports of inline pairs that come later")
	return c
}

// blockable reads what a configuration selects. What else is wrong in it is told: the
// daemon will refuse it, and the servers stay closed.
func blockable(path string) (*ppf.Spec, error) {
	spec, problems := config.LoadSelection(path)
	if slices.ContainsFunc(problems, isWrong) {
		return nil, refusedConfig(&daemon.ConfigError{Problems: problems})
	}
	for _, p := range problems {
		printProblem(p)
	}
	return spec, nil
}

func isWrong(p ppf.Problem) bool { return !p.Warning }

func block(path string) error {
	spec, err := blockable(path)
	if err != nil {
		return err
	}
	if who := nfqueue.Claimed(); who != "" {
		return fmt.Errorf("block: a daemon is there: %s (stop it: with `on_exit: block` it leaves the same)", who)
	}
	if err := blockSelected(spec); err != nil {
		return err
	}
	if err := silencePorts(daemon.Ports(spec)); err != nil {
		return err
	}
	fmt.Printf("blocked: what the %d instances of %s select\n", len(spec.Instances), path)
	return nil
}

// blockSelected drops what a configuration selects.
func blockSelected(spec *ppf.Spec) error {
	k, err := rules.OpenKernel()
	if err != nil {
		return err
	}
	defer k.Close()
	f, err := k.Probe()
	if err != nil {
		return err
	}
	f.Block = true
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1, PluginConfig: spec.Plugins})
	if err != nil {
		return err
	}
	defer e.Close(context.Background())
	if _, err := e.Apply(spec); err != nil {
		return err
	}
	rs, err := rules.Compile(daemon.Plan(spec, e), f)
	if err != nil {
		return err
	}
	return k.Apply(rs)
}

// silencePorts closes the ports of inline pairs: what comes in there is dropped,
// also before a bridge that they are ports of, and the host says nothing.
func silencePorts(ports []string) error {
	if len(ports) == 0 {
		return nil
	}
	s, err := rules.OpenSilence()
	if err != nil {
		return err
	}
	defer s.Close()
	var errs []error
	for _, p := range ports {
		switch used, err := inline.InUse(p); {
		case err != nil:
			errs = append(errs, err)
		case used:
			errs = append(errs, fmt.Errorf("block: a daemon carries frames at %s (stop it instead)", p))
		default:
			errs = append(errs, s.Add(p))
		}
	}
	return errors.Join(errs...)
}
