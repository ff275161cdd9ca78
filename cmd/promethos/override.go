package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

func newOverride(g *global) *cobra.Command {
	var client string
	c := &cobra.Command{
		Use: "override [INSTANCE REASON monitor|repair|refuse|default]", Short: "change what one reason does in a running instance; without arguments, list what holds",
		Long: `Changes what one reason does in a running instance, as reasons: in the configuration does:

  monitor   let the packet pass, and count what would have been done
  repair    mend what has one safe meaning
  refuse    drop
  default   take an override of a command back

It holds until the daemon ends and survives reloads while there is an instance of that name. Of several overrides
the one for the fewest clients counts, and of two for the same clients the command's, not the file's.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 3 {
				return fmt.Errorf("got %d arguments, want none, or an instance, a reason and what to do", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			api := control.NewClient(g.control)
			if len(args) == 0 {
				list, err := api.Overrides(c.Context())
				if err != nil {
					return err
				}
				return show(g, list, []string{"INSTANCE", "REASON", "CLIENT", "DO", "ORIGIN"}, func(o ppf.OverrideInfo) []string {
					return []string{o.Instance, o.Reason, o.Client, o.Do, o.Origin}
				})
			}
			if client != "" {
				p, err := prefix(client)
				if err != nil {
					return usageError{fmt.Errorf("override: --client: %w", err)}
				}
				client = p.String()
			}
			if _, known := ppf.ParseDo(args[2]); !known && args[2] != control.OverrideDefault {
				return usageError{fmt.Errorf("override: %q: unknown (write monitor, repair, refuse or default)", args[2])}
			}
			return api.Override(c.Context(), ppf.OverrideInfo{Instance: args[0], Reason: args[1], Client: client, Do: args[2]})
		},
	}
	c.Flags().StringVar(&client, "client", "", "only for clients in `NETWORK`, or for one address")
	return c
}

// prefix reads an address or a network.
func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is no address and no network (write 192.0.2.1 or 192.0.2.0/24)", text)
	}
	return p.Masked(), nil
}
