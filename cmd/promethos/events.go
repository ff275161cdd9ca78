package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

func newEvents(g *global) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "events", Short: "print what happened", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilSignal()
			defer stop()
			p := painter{terminal(os.Stdout)}
			return control.NewClient(g.control).Events(ctx, follow, func(e ppf.Event) error {
				if g.json {
					return json.NewEncoder(os.Stdout).Encode(e) // one line each: they may never end
				}
				_, err := fmt.Println(eventLine(p, e))
				return err
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	return c
}

// eventLine is an event as people read it.
func eventLine(p painter, e ppf.Event) string {
	where := ""
	if e.Instance != "" {
		where = "[" + e.Instance + "] "
	}
	text := e.Text
	switch {
	case e.Record != nil && e.Record.Action == ppf.OutcomeDrop.String(), e.Kind == ppf.EventLost:
		text = p.bad(text)
	case e.Record != nil:
		text = p.doubt(text)
	}
	return e.Time.Format("15:04:05.000000") + " " + where + text
}

func newLedger(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "ledger", Short: "list what was mended, or would have been dropped, by protected host and client", Args: cobra.NoArgs,
		Long: `Lists, for each protected host, what was mended or would have been dropped, how often and from which client:
what mode strict, or the end of mode monitor, would break. Beyond 4,096 lines a worker counts clients together as others.`,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := control.NewClient(g.control).Ledger(c.Context())
			if err != nil {
				return err
			}
			return show(g, list, []string{"SERVER", "CLIENT", "INSTANCE", "REASON", "ACTION", "COUNT"}, func(l ppf.LedgerLine) []string {
				return []string{l.Server, l.Client, l.Instance, l.Reason, l.Action, count(l.Count)}
			})
		},
	}
}
