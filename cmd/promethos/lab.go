package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/lab"
)

func newLab() *cobra.Command {
	c := &cobra.Command{Use: "lab", Short: "a client, a proxy and a server in network namespaces"}
	var inline bool
	up := &cobra.Command{
		Use: "up", Short: "make the lab", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := lab.Up(c.Context(), lab.Options{Inline: inline})
			if err != nil {
				return err
			}
			for _, h := range l.Hosts() {
				fmt.Printf("%-18s %v %v\n", h.Name, h.IPv4, h.IPv6)
			}
			return l.Close()
		},
	}
	up.Flags().BoolVar(&inline, "inline", false, "one subnet, with the proxy as a bump in the wire")
	down := &cobra.Command{
		Use: "down", Short: "remove the lab", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return lab.Remove(lab.Options{}) },
	}
	run := &cobra.Command{
		Use: "run HOST -- CMD…", Short: "run a command in a host of the lab: client, proxy or server", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return runInLab(c, args[0], args[1:]) },
	}
	c.AddCommand(up, down, run)
	return c
}

func runInLab(c *cobra.Command, role string, args []string) error {
	l, err := lab.Attach(lab.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	h, err := l.Host(role)
	if err != nil {
		return usageError{err}
	}
	cmd := h.Command(c.Context(), args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return silentError{exit.ExitCode()}
	}
	return err
}
