package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/lab/bench"
)

func newBench(g *global) *cobra.Command {
	o := bench.Options{}
	c := &cobra.Command{
		Use: "bench [NAME]", Short: "measure against plain forwarding, in a lab; without NAME, everything", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return inLab(func() error { return runBench(g, o, args) })
		},
	}
	c.Flags().IntVar(&o.Runs, "runs", 7, "interleaved runs per row")
	c.Flags().DurationVar(&o.Duration, "duration", time.Second, "length of each run")
	return c
}

func runBench(g *global, o bench.Options, names []string) (err error) {
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	if o.Runs < 1 || o.Duration <= 0 {
		return usageError{errors.New("bench: --runs and --duration must be positive")}
	}
	if len(names) == 0 {
		names = bench.Names()
	}
	ctx, stop := untilSignal()
	defer stop()
	for _, name := range names {
		r, err := bench.Run(ctx, name, o)
		if errors.Is(err, bench.ErrUnknown) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		if g.json {
			err = printJSON(os.Stdout, r)
		} else {
			err = r.Print(os.Stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
