package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/control/sidebyside"
	"github.com/promethos/promethos/pcapng"
)

// traceWhole is more than any packet has.
const traceWhole = 1 << 17

func newTrace(g *global) *cobra.Command {
	var file string
	var n int
	c := &cobra.Command{
		Use: "trace INSTANCE", Short: "show received packets and what was sent in their place, side by side", Args: cobra.ExactArgs(1),
		Long: `Shows each packet of an instance as it was received and as it was sent, field by field; what differs is marked.
INSTANCE - shows traffic of no instance. With -w both go to a pcapng file, with why as their comments.`,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if n < 0 {
				return usageError{errors.New("trace: -n must not be negative")}
			}
			ctx, stop := untilSignal()
			defer stop()
			client := control.NewClient(g.control)
			switch {
			case file != "":
				return traceToFile(ctx, client, args[0], n, file)
			case g.json:
				out := json.NewEncoder(os.Stdout)
				return client.Trace(ctx, args[0], n, traceWhole, started, func(t control.Traced) error { return out.Encode(t) })
			}
			p := painter{terminal(os.Stdout)}
			return client.Trace(ctx, args[0], n, traceWhole, started, func(t control.Traced) error { return printTraced(os.Stdout, p, &t) })
		},
	}
	c.Flags().StringVarP(&file, "write", "w", "", "write a pcapng `FILE`")
	c.Flags().IntVarP(&n, "count", "n", 0, "end after `COUNT` packets; 0 goes on")
	return c
}

// started tells that packets are seen from now on.
func started() { fmt.Fprintln(os.Stderr, "tracing") }

// printTraced shows one packet.
func printTraced(w io.Writer, p painter, t *control.Traced) error {
	if t.Lost > 0 {
		fmt.Fprintln(w, p.bad(fmt.Sprintf("%d packets came faster than they were shown", t.Lost)))
	}
	fmt.Fprintf(w, "%s %s\n", t.Time.Format("15:04:05.000000"), p.bold(t.Comment()))
	sent := "SENT"
	if t.Pair.SentLen == 0 {
		sent = "NOTHING WAS SENT"
	}
	var rows [][]string
	for _, l := range sidebyside.Compare(t.Pair) {
		mark := " "
		if l.Changed {
			mark = "*"
		}
		rows = append(rows, []string{mark, l.Field, l.Received, l.Sent})
	}
	if err := printTable(w, []string{" ", "FIELD", "RECEIVED", sent}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// traceToFile writes both packets of each pair.
func traceToFile(ctx context.Context, client *control.Client, instance string, n int, file string) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	defer func() {
		if closed := f.Close(); err == nil && closed != nil {
			err = fmt.Errorf("trace: %w", closed)
		}
	}()
	w, err := pcapng.NewWriter(f, "promethos trace")
	if err != nil {
		return fmt.Errorf("trace: %s: %w", file, err)
	}
	number := 0
	return client.Trace(ctx, instance, n, traceWhole, started, func(t control.Traced) error {
		number++
		p := pcapng.Packet{
			Time: t.Time.UnixNano(), Ethernet: t.Pair.Ethernet, Data: t.Pair.Received, Length: t.Pair.ReceivedLen,
			Direction: pcapng.Received, Comment: t.Comment(),
		}
		if err := w.Write(p); err != nil {
			return fmt.Errorf("trace: %s: %w", file, err)
		}
		if t.Pair.SentLen == 0 {
			return nil
		}
		p.Data, p.Length, p.Direction, p.Comment = t.Pair.Sent, t.Pair.SentLen, pcapng.Sent, fmt.Sprintf("sent in place of packet %d", number)
		number++
		if err := w.Write(p); err != nil {
			return fmt.Errorf("trace: %s: %w", file, err)
		}
		return nil
	})
}
