// Command promethos puts a proxy of protocol interception in front of machines
// that cannot be patched. `promethos help` lists its commands.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	_ "github.com/promethos/promethos/modules/builtin"
)

// Exit statuses of all commands.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is wrong usage or configuration: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// silentError ends the program with a status; everything is said already.
type silentError struct{ status int }

func (silentError) Error() string { return "" }

// global holds the flags of every command.
type global struct {
	control string
	json    bool
}

func main() { os.Exit(execute(os.Args[1:])) }

func execute(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	var usage usageError
	var silent silentError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &silent):
		return silent.status
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "promethos: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "promethos: %v\n", err)
	return exitFailed
}

func newRoot() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:   "promethos",
		Short: "a proxy of protocol interception in front of machines that cannot be patched",
		// Errors are printed once, in one form, by execute.
		SilenceErrors: true, SilenceUsage: true,
	}
	root.PersistentFlags().StringVar(&g.control, "control", control.DefaultSocket, "`path` of the daemon's control socket")
	root.PersistentFlags().BoolVar(&g.json, "json", false, "print JSON where a table is printed")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w (see `%s --help`)", c.Name(), err, c.CommandPath())}
	})
	root.AddCommand(
		newRun(g), newCheck(g), newIPTables(g), newReload(g), newReconfig(g), newModule(g), newUnblock(), newProtect(g),
		newTrace(g), newOverride(g), newBlock(), newMan(),
		newInstances(g), newShow(g), newFunctions(g), newModules(g), newConnections(g), newReasons(g), newStats(g), newLedger(g), newEvents(g), newTop(g),
		newExplain(g), newDemo(g), newLab(), newBench(g), newReplay(g), newSelftest(g), newDoctor(g), newVersion(g),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	onlyGroups(root)
	return root
}

// onlyGroups makes a command that has others and does nothing itself print its help,
// and name a word that is none of them.
func onlyGroups(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s: unknown command (see `%s --help`)", args[0], c.CommandPath())}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// checkArgs makes a wrong number of arguments a usage error, in all commands.
func checkArgs(c *cobra.Command) {
	if c.HasSubCommands() && (!c.Runnable() || c.Name() == "completion") { // cobra's own does nothing itself either
		onlyGroups(c)
		for _, sub := range c.Commands() {
			checkArgs(sub)
		}
		return
	}
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%s: %w (usage: %s)", c.Name(), err, c.UseLine())}
		}
		return nil
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}
