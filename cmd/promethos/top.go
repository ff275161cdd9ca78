package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

func newTop(g *global) *cobra.Command {
	every, rounds := time.Second, 0
	c := &cobra.Command{
		Use: "top", Short: "watch what passes, is dropped and is repaired, as it happens", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if every < 100*time.Millisecond || rounds < 0 {
				return usageError{fmt.Errorf("top: --every must be at least 100ms and --rounds not negative")}
			}
			ctx, stop := untilSignal()
			defer stop()
			return top(ctx, g, every, rounds)
		},
	}
	c.Flags().DurationVar(&every, "every", every, "time between two looks")
	c.Flags().IntVarP(&rounds, "rounds", "n", 0, "end after `N` looks; 0 goes on")
	return c
}

// look is what the daemon says at one moment.
type look struct {
	at        time.Time
	instances []ppf.InstanceInfo
	reasons   []ppf.ReasonCountInfo
	stats     control.StatsReply
}

func takeLook(ctx context.Context, c *control.Client) (l look, err error) {
	l.at = time.Now()
	if l.instances, err = c.Instances(ctx); err != nil {
		return l, err
	}
	if l.reasons, err = c.Reasons(ctx); err != nil {
		return l, err
	}
	l.stats, err = c.Stats(ctx)
	return l, err
}

// instanceRate is one line of top: per second, both flows.
type instanceRate struct {
	Instance    string  `json:"instance"`
	Protecting  bool    `json:"protecting"`
	Mode        string  `json:"mode"`
	Connections int     `json:"connections"`
	Packets     float64 `json:"packets"` // per second
	Bits        float64 `json:"bits"`    // per second
	Dropped     float64 `json:"dropped"`
	Repaired    float64 `json:"repaired"`
}

// reasonRate is one line of top: per second.
type reasonRate struct {
	Reason   string  `json:"reason"`
	Instance string  `json:"instance"`
	Action   string  `json:"action"`
	Rate     float64 `json:"rate"`
	Count    uint64  `json:"count"`
}

// topView is what changed between two looks.
type topView struct {
	Instances []instanceRate `json:"instances"`
	Reasons   []reasonRate   `json:"reasons"`
	Waiting   uint64         `json:"waiting"` // packets without a verdict
	Lost      uint64         `json:"lost"`    // by the kernel, for want of room in queues, so far
}

// rate is growth per second; a counter that was set to zero starts anew.
func rate(before, now uint64, seconds float64) float64 {
	if now < before {
		before = 0
	}
	return float64(now-before) / seconds
}

// compare makes rates of two looks.
func compare(before, now look) topView {
	seconds := max(now.at.Sub(before.at).Seconds(), 1e-3)
	v := topView{Instances: []instanceRate{}, Reasons: []reasonRate{}}
	for _, i := range now.instances {
		r := instanceRate{Instance: i.Name, Protecting: i.Protecting, Mode: modeText(i), Connections: i.Connections}
		k := slices.IndexFunc(before.instances, func(o ppf.InstanceInfo) bool { return o.Name == i.Name })
		for d, f := range i.Flow {
			var old ppf.FlowCounters
			if k >= 0 {
				old = before.instances[k].Flow[d]
			}
			r.Packets += rate(old.In, f.In, seconds)
			r.Bits += 8 * rate(old.InBytes, f.InBytes, seconds)
			r.Dropped += rate(old.Dropped, f.Dropped, seconds)
			r.Repaired += rate(old.Repaired, f.Repaired, seconds)
		}
		v.Instances = append(v.Instances, r)
	}
	slices.SortStableFunc(v.Instances, func(a, b instanceRate) int { return cmp.Compare(b.Packets, a.Packets) })
	for _, r := range now.reasons {
		old := uint64(0)
		k := slices.IndexFunc(before.reasons, func(o ppf.ReasonCountInfo) bool {
			return o.Reason == r.Reason && o.Instance == r.Instance && o.Action == r.Action
		})
		if k >= 0 {
			old = before.reasons[k].Count
		}
		v.Reasons = append(v.Reasons, reasonRate{r.Reason, r.Instance, r.Action, rate(old, r.Count, seconds), r.Count})
	}
	slices.SortStableFunc(v.Reasons, func(a, b reasonRate) int { return cmp.Compare(b.Rate, a.Rate) })
	for _, s := range now.stats.Sources {
		v.Waiting += s.Depth
		v.Lost += s.KernelDropped + s.SocketDropped
	}
	return v
}

// topReasons is how many reasons are shown.
const topReasons = 15

func top(ctx context.Context, g *global, every time.Duration, rounds int) error {
	client := control.NewClient(g.control)
	before, err := takeLook(ctx, client)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; rounds == 0 || n < rounds; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := takeLook(ctx, client)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		v := compare(before, now)
		if g.json {
			err = json.NewEncoder(os.Stdout).Encode(v)
		} else {
			err = printTop(now.at, v)
		}
		if err != nil {
			return err
		}
		before = now
	}
	return nil
}

// clearScreen puts the cursor home and clears (ECMA-48 CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

func printTop(at time.Time, v topView) error {
	if terminal(os.Stdout) {
		fmt.Print(clearScreen)
	}
	fmt.Printf("%s  %d packets wait for a verdict, %d lost in full queues\n\n", at.Format("15:04:05"), v.Waiting, v.Lost)
	rows := make([][]string, len(v.Instances))
	for i, r := range v.Instances {
		rows[i] = []string{r.Instance, r.Mode, count(uint64(r.Connections)), fmt.Sprintf("%.0f", r.Packets), fmt.Sprintf("%.2f", r.Bits/1e6),
			fmt.Sprintf("%.0f", r.Dropped), fmt.Sprintf("%.0f", r.Repaired)}
	}
	if err := printTable(os.Stdout, []string{"INSTANCE", "MODE", "CONNECTIONS", "PACKETS/S", "MBIT/S", "DROPPED/S", "REPAIRED/S"}, rows); err != nil {
		return err
	}
	fmt.Println()
	rows = nil
	for _, r := range v.Reasons[:min(topReasons, len(v.Reasons))] {
		rows = append(rows, []string{r.Reason, r.Instance, r.Action, fmt.Sprintf("%.0f", r.Rate), count(r.Count)})
	}
	return printTable(os.Stdout, []string{"REASON", "INSTANCE", "ACTION", "PER SECOND", "SO FAR"}, rows)
}
