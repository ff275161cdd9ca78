package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// FirewallKind is a firewall that an operator may already have on the proxy host.
type FirewallKind uint8

// The firewalls.
const (
	// Plain is none.
	Plain FirewallKind = iota
	// CTInvalidDrop drops `ct state invalid` in input, forward and output.
	CTInvalidDrop
	// Masquerade gives the proxy's address to what leaves towards the server.
	Masquerade
)

var firewallNames = [...]string{"plain", "ct-invalid-drop", "masquerade"}

// String names the firewall.
func (k FirewallKind) String() string { return firewallNames[k] }

// FirewallTable is the nftables table (family inet) that Firewall makes.
const FirewallTable = "lab_filter"

// Firewall puts a firewall on a host in place of the one before, in one
// transaction. Connection tracking is on from then on, except for Plain.
func Firewall(h *Host, kind FirewallKind) error {
	err := h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Family: nftables.TableFamilyINet, Name: FirewallTable}
		// To add a table that is there is no error, to delete one that is not would be.
		c.AddTable(table)
		c.DelTable(table)
		switch kind {
		case CTInvalidDrop:
			c.AddTable(table)
			dropInvalid(c, table)
		case Masquerade:
			c.AddTable(table)
			masquerade(c, table)
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("firewall %v: %w", kind, err)
	}
	return nil
}

func dropInvalid(c *nftables.Conn, table *nftables.Table) {
	accept := nftables.ChainPolicyAccept
	for _, hook := range []struct {
		name string
		num  *nftables.ChainHook
	}{{"input", nftables.ChainHookInput}, {"forward", nftables.ChainHookForward}, {"output", nftables.ChainHookOutput}} {
		chain := c.AddChain(&nftables.Chain{Name: hook.name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook.num, Priority: nftables.ChainPriorityFilter, Policy: &accept})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
				Mask: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitINVALID), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
}

func masquerade(c *nftables.Conn, table *nftables.Table) {
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, ServerInterface)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
}
