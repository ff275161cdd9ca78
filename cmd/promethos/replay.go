package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/source/pcapfile"
)

// replayFiles are the files that replay reads and writes; "-" is standard input
// or output.
type replayFiles struct{ in, out, drops, report string }

func newReplay(g *global) *cobra.Command {
	var path string
	var files replayFiles
	var seed uint64
	c := &cobra.Command{
		Use:   "replay -c FILE -r IN.pcap -w OUT.pcap",
		Short: "send the packets of a capture file through the chains of a configuration",
		Long: `Sends the packets of a capture file, pcap or pcapng, through the chains of a
configuration and writes what comes out, in the same format. It needs no
privilege and no daemon. The time is the capture's, randomness comes from the
seed, so the same input gives the same bytes. Hooks and interfaces of the
configuration are ignored; the first instance that matches takes a packet, and
packets of no instance are copied. Frames with an Ethernet header go through the
instances of an inline pair as on a wire, from the side on which the server of
their match is; where none is named, whoever speaks first is a client. A capture of one side of the proxy is
wanted: one of both shows every packet twice. "-" as a file's name is standard
input or output.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilSignal()
			defer stop()
			return replay(ctx, g, path, files, seed)
		},
	}
	configFlag(c, &path)
	c.Flags().StringVarP(&files.in, "read", "r", "", "capture `FILE` to read")
	c.Flags().StringVarP(&files.out, "write", "w", "", "capture `FILE` to write")
	c.Flags().StringVar(&files.drops, "drops", "", "capture `FILE` for what was dropped, as it was received")
	c.Flags().StringVar(&files.report, "report", "", "`FILE` for the fate of every packet, as JSON")
	c.Flags().Uint64Var(&seed, "seed", 0, "`NUMBER` that all randomness follows from")
	return c
}

func replay(ctx context.Context, g *global, path string, files replayFiles, seed uint64) (err error) {
	if err := files.check(); err != nil {
		return usageError{fmt.Errorf("replay: %w (usage: promethos replay -c FILE -r IN.pcap -w OUT.pcap)", err)}
	}
	spec, problems := config.Load(path)
	if wrong := slices.DeleteFunc(problems, func(p ppf.Problem) bool { return p.Warning }); len(wrong) > 0 {
		return refusedConfig(&daemon.ConfigError{Problems: wrong})
	}
	o := pcapfile.Options{Spec: spec, In: os.Stdin, Seed: seed}
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			err = errors.Join(err, f.Close())
		}
	}()
	if files.in != "-" {
		f, err := os.Open(files.in)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		opened, o.In = append(opened, f), f
	}
	for _, output := range []struct {
		name string
		to   *io.Writer
	}{{files.out, &o.Out}, {files.drops, &o.Drops}, {files.report, &o.Report}} {
		switch output.name {
		case "":
		case "-":
			*output.to = os.Stdout
		default:
			f, err := os.Create(output.name)
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			opened, *output.to = append(opened, f), f
		}
	}
	sums, err := pcapfile.Replay(ctx, o)
	if sums != nil {
		err = errors.Join(err, printSums(g, sums, files.summary()))
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", files.in, err)
	}
	return nil
}

func (f *replayFiles) outputs() []string { return []string{f.out, f.drops, f.report} }

// check wants what is needed, and no file twice.
func (f *replayFiles) check() error {
	if f.in == "" || f.out == "" {
		return errors.New("-r and -w are needed")
	}
	var seen []os.FileInfo
	names := map[string]bool{}
	for i, name := range append([]string{f.in}, f.outputs()...) {
		if name == "" || i == 0 && name == "-" {
			continue
		}
		info, err := os.Stat(name)
		same := err == nil && slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, info) && s.Mode().IsRegular() })
		if same || names[name] {
			return fmt.Errorf("%s is named twice", name)
		}
		names[name] = true
		if err == nil {
			seen = append(seen, info)
		}
	}
	return nil
}

// summary is where the sums are printed: beside what is written.
func (f *replayFiles) summary() io.Writer {
	if slices.Contains(f.outputs(), "-") {
		return os.Stderr
	}
	return os.Stdout
}

func printSums(g *global, s *pcapfile.Sums, w io.Writer) error {
	if g.json {
		return printJSON(w, s)
	}
	fmt.Fprintf(w, "in %d + emitted %d + split %d = out %d + dropped %d + merged %d + held %d; of out: repaired %d, unmatched %d\n",
		s.In, s.Emitted, s.Split, s.Out, s.Dropped, s.Merged, s.Held, s.Repaired, s.Unmatched)
	if len(s.Reasons) == 0 {
		return nil
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(s.Reasons)) {
		rows = append(rows, []string{name, count(s.Reasons[name])})
	}
	fmt.Fprintln(w)
	return printTable(w, []string{"REASON", "COUNT"}, rows)
}
