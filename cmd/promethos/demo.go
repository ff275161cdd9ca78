package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/demo"
)

func newDemo(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "watch a real download and real attacks pass through the proxy, in a lab", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return inLab(func() error {
				program, err := os.Executable()
				if err != nil {
					return err
				}
				ctx, stop := untilSignal()
				defer stop()
				w := io.Writer(os.Stdout)
				if g.json {
					w = io.Discard
				}
				r, err := demo.Run(ctx, program, w)
				if g.json && r != nil {
					if err := printJSON(os.Stdout, r); err != nil {
						return err
					}
				}
				return err
			})
		},
	}
}

// inLab runs f where labs can be made: here, or for an ordinary user in a user
// namespace of its own.
func inLab(f func() error) error {
	status, ran, err := lab.EnterUserNamespace()
	switch {
	case err != nil:
		return err
	case ran && status != 0:
		return silentError{status}
	case ran:
		return nil
	}
	return f()
}
