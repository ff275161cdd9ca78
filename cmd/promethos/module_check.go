package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/kit"
	"github.com/promethos/promethos/wasm"
)

func newModuleTest(g *global) *cobra.Command {
	o := kit.Options{}
	var captures []string
	c := &cobra.Command{
		Use: "test FILE [TRACE…]", Short: "run a module against the conformance kit; without TRACE, all of testdata beside it",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Module, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			traces := args[1:]
			if len(traces) == 0 {
				// The pattern is not malformed.
				traces, _ = filepath.Glob(filepath.Join(filepath.Dir(o.Module), "testdata", "*.trace"))
			}
			for _, path := range traces {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				s, err := kit.ParseTrace(path, string(text))
				if err != nil {
					return usageError{err}
				}
				o.Scenarios = append(o.Scenarios, s)
			}
			for _, path := range captures {
				frames, err := lab.ReadCapture(path)
				if err != nil {
					return err
				}
				o.Recorded = append(o.Recorded, frames...)
			}
			checks, err := kit.Run(c.Context(), o)
			if err != nil {
				return fmt.Errorf("module test: %w", err)
			}
			return printChecks(g, checks)
		},
	}
	c.Flags().StringArrayVarP(&captures, "read", "r", nil, "recorded traffic: a pcap or pcapng `FILE`")
	c.Flags().IntVar(&o.Fuzz, "fuzz", 10000, "fuzzed packets per scenario")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "of the fuzzed packets")
	return c
}

func printChecks(g *global, checks []kit.Check) error {
	bad := 0
	for _, c := range checks {
		if len(c.Problems) > 0 {
			bad++
		}
		if g.json {
			continue
		}
		verdict := "ok"
		if len(c.Problems) > 0 {
			verdict = "FAILED"
		}
		fmt.Printf("%-6s  %s: %d packets\n", verdict, c.Name, c.Packets)
		for _, p := range c.Problems {
			fmt.Printf("        %s\n", p)
		}
	}
	if g.json {
		if err := printJSON(os.Stdout, checks); err != nil {
			return err
		}
	}
	if bad > 0 {
		return errors.New("module test: not everything holds")
	}
	return nil
}

func newModulePack() *cobra.Command {
	return &cobra.Command{
		Use: "pack FILE MANIFEST", Short: "put a manifest into a module's file", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			binary, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			manifest, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			packed, err := wasm.Pack(binary, manifest)
			if err != nil {
				return fmt.Errorf("module pack: %w", err)
			}
			return os.WriteFile(args[0], packed, 0o644)
		},
	}
}
