// Package bench measures the proxy against what people use instead, side by
// side in labs: ratios, since the machine is whatever it is.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Options say how long to measure.
type Options struct {
	Program  string        // the proxy to run
	Runs     int           // interleaved runs per row; at least 1
	Duration time.Duration // of each run
}

// Row is one line: ours against a baseline.
type Row struct {
	Name     string       `json:"name"`
	Ours     float64      `json:"ours"`     // median
	Baseline float64      `json:"baseline"` // median
	Against  string       `json:"against"`
	Unit     string       `json:"unit"`
	Ratio    float64      `json:"ratio"` // median over the runs; bigger is better for us
	Runs     [][2]float64 `json:"runs"`  // ours, baseline

	less bool // of what is measured less is better: the ratio is that of baseline to ours
}

// Result is one benchmark's outcome.
type Result struct {
	Bench string `json:"bench"`
	Rows  []Row  `json:"rows"`
	// Skipped names what could not be measured, and why.
	Skipped []string `json:"skipped,omitempty"`
	// Timing is the thesis' table: processing time per packet, in nanoseconds.
	Timing map[string]ppf.TimingSummary `json:"timing,omitempty"`
}

var all = map[string]func(context.Context, Options) (*Result, error){
	"connections": connections, "flood": flood, "http": http, "https": https, "inline": inline, "instances": instances, "latency": latency, "module": module,
	"nfqueue": nfqueue,
}

// Names lists the benchmarks.
func Names() []string { return slices.Sorted(maps.Keys(all)) }

// ErrUnknown reports a benchmark that does not exist.
var ErrUnknown = errors.New("no such benchmark")

// Run runs a benchmark by name; the error wraps ErrUnknown where there is none.
func Run(ctx context.Context, name string, o Options) (*Result, error) {
	f, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("bench %s: %w (there are: %s)", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	return f(ctx, o)
}

// measure interleaves runs of ours and of the baseline and takes medians. r says
// what is measured.
func measure(r Row, runs int, ours, baseline func() (float64, error)) (Row, error) {
	var a, b, ratios []float64
	for range runs {
		x, err := ours()
		if err != nil {
			return r, fmt.Errorf("bench %s: %w", r.Name, err)
		}
		y, err := baseline()
		if err != nil {
			return r, fmt.Errorf("bench %s: %s: %w", r.Name, r.Against, err)
		}
		r.Runs = append(r.Runs, [2]float64{x, y})
		ratio := x / y
		if r.less {
			ratio = y / x
		}
		a, b, ratios = append(a, x), append(b, y), append(ratios, ratio)
	}
	r.Ours, r.Baseline, r.Ratio = median(a), median(b), median(ratios)
	return r, nil
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// Print writes the result as tables.
func (r *Result) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEASURED\tOURS\tBASELINE\tUNIT\tRATIO\tAGAINST")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%.4g\t%.4g\t%s\t%.2f\t%s\n", row.Name, row.Ours, row.Baseline, row.Unit, row.Ratio, row.Against)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, why := range r.Skipped {
		fmt.Fprintln(w, "skipped:", why)
	}
	if len(r.Timing) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "PROCESSING TIME PER PACKET\tPACKETS\tMEAN\tSTD DEV\tMIN\tMAX\tP50\tP90\tP99")
	for _, name := range slices.Sorted(maps.Keys(r.Timing)) {
		s := r.Timing[name]
		fmt.Fprintf(t, "%s\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t%v\n", name, s.Packets, s.Mean, s.StdDev, s.Min, s.Max, s.P50, s.P90, s.P99)
	}
	return t.Flush()
}
