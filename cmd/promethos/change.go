package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

func newReload(g *global) *cobra.Command {
	var plan bool
	c := &cobra.Command{
		Use: "reload", Short: "make the daemon read its configuration again", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client := control.NewClient(g.control)
			do := client.Reload
			if plan {
				do = client.PlanReload
			}
			r, err := do(c.Context())
			if err != nil {
				return err
			}
			if len(r.Problems) > 0 {
				for _, p := range r.Problems {
					fmt.Fprintf(os.Stderr, "promethos: %s\n", p)
				}
				fmt.Fprintln(os.Stderr, "promethos: reload: refused, the running configuration stays (mend the file and reload)")
				return silentError{exitUsage}
			}
			if g.json {
				return printJSON(os.Stdout, r)
			}
			for _, line := range r.Changes {
				fmt.Println(line)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "say what it would do, and do nothing")
	return c
}

func newReconfig(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "reconfig NUMBER 'CONFIG'", Short: "change the config string of a PromethOS instance", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || n == 0 {
				return usageError{fmt.Errorf("reconfig: %q is not an instance number (`promethos instances` lists them)", args[0])}
			}
			return control.NewClient(g.control).Reconfig(c.Context(), ppf.InstanceNumber(n), args[1])
		},
	}
}

func newUnblock() *cobra.Command {
	return &cobra.Command{
		Use: "unblock", Short: "remove the rules that `on_exit: block` or a killed daemon left", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if who := nfqueue.Claimed(); who != "" {
				return fmt.Errorf("unblock: a daemon is there: %s (stop it instead)", who)
			}
			silence, err := endSilence()
			if err != nil {
				return err
			}
			k, err := rules.OpenKernel()
			if err != nil {
				return err
			}
			defer k.Close()
			state, err := k.State()
			if err != nil {
				return err
			}
			if err := k.Remove(); err != nil {
				return err
			}
			if state != rules.StateNone {
				fmt.Println("removed: the rules that", map[rules.State]string{rules.StateActive: "a killed daemon left", rules.StateBlock: "`on_exit: block` left"}[state])
			}
			routes, err := endDiversion()
			if err == nil && !silence && !routes && state == rules.StateNone {
				fmt.Println("nothing to remove: there is no table of ours")
			}
			return err
		},
	}
}
