package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
)

func newModule(g *global) *cobra.Command {
	c := &cobra.Command{Use: "module", Short: "load, unload, reload, write and test proxy framework modules"}
	for _, do := range []string{"load", "unload", "reload"} {
		force := false
		one := &cobra.Command{
			Use: do + " NAME|FILE", Short: do + " a proxy framework module, by name or file", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				name, err := moduleName(args[0])
				if err != nil {
					return err
				}
				return control.NewClient(g.control).Module(c.Context(), do, name, force)
			},
		}
		if do == "unload" {
			one.Flags().BoolVar(&force, "force", false, "also while instances use it: their flows are closed")
		}
		c.AddCommand(one)
	}
	c.AddCommand(newModuleNew(), newModuleTest(g), newModulePack())
	return c
}

// moduleName makes the path of a file absolute, since the daemon stands in
// another folder; names stay as they are.
func moduleName(arg string) (string, error) {
	if filepath.Ext(arg) == "" && filepath.Base(arg) == arg {
		return arg, nil
	}
	if _, err := os.Stat(arg); err != nil {
		return "", err
	}
	return filepath.Abs(arg)
}
