package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// RuleText spells a rule as ParseIPTables reads it, from `-A` on.
func RuleText(r *ppf.RuleSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-A %s", strings.ToUpper(r.Chain.String()))
	if r.Criteria.Family == ppf.FamilyIPv6 {
		b.WriteString(" -6")
	}
	b.WriteString(CriteriaText(&r.Criteria))
	fmt.Fprintf(&b, " -j PROMETHOS --plugin %s --autoinstance", r.Plugin)
	if r.Config != "" {
		fmt.Fprintf(&b, " --config '%s'", r.Config)
	}
	return b.String()
}

// CriteriaText spells criteria as options, each with a blank before it.
func CriteriaText(c *ppf.Criteria) string {
	var b strings.Builder
	criteriaText(&b, c, "")
	for i := range c.Not {
		criteriaText(&b, &c.Not[i], " !")
	}
	return b.String()
}

func criteriaText(b *strings.Builder, c *ppf.Criteria, not string) {
	if c.Protocol != ppf.ProtocolAny {
		fmt.Fprintf(b, "%s -p %s", not, strings.ToLower(c.Protocol.String()))
	}
	for _, a := range []struct {
		option string
		list   []netip.Prefix
	}{{"-s", c.Src}, {"-d", c.Dst}} {
		if len(a.list) > 0 {
			fmt.Fprintf(b, "%s %s %s", not, a.option, AddressList(a.list))
		}
	}
	for _, d := range []struct{ option, name string }{{"-i", c.In}, {"-o", c.Out}} {
		if d.name != "" {
			fmt.Fprintf(b, "%s %s %s", not, d.option, d.name)
		}
	}
	for _, p := range []struct {
		option string
		list   []ppf.PortRange
	}{{"--sport", c.SrcPorts}, {"--dport", c.DstPorts}} {
		if len(p.list) == 0 {
			continue
		}
		if len(p.list) > 1 {
			p.option += "s"
		}
		parts := make([]string, len(p.list))
		for i, r := range p.list {
			parts[i] = strings.ReplaceAll(r.String(), "-", ":")
		}
		fmt.Fprintf(b, "%s %s %s", not, p.option, strings.Join(parts, ","))
	}
}

// AddressList spells networks as a comma list.
func AddressList(list []netip.Prefix) string {
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = prefixText(p)
	}
	return strings.Join(parts, ",")
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// InstanceYAML writes what a file would say for an instance that commands made:
// both flows' criteria must be each other's reverse, or there is no everyday
// form and ok is false.
func InstanceYAML(name string, hook ppf.Hook, cs ppf.Criteria, sc *ppf.Criteria, chain [2][]string) (text string, ok bool) {
	if sc != nil {
		if r := sc.Reverse(); !sameCriteria(&cs, &r) {
			return "", false
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n    hook: %v\n    match:\n", name, hook)
	matchYAML(&b, &cs, "      ")
	if len(cs.Not) > 0 {
		b.WriteString("      not:\n")
		for i := range cs.Not {
			var item strings.Builder
			matchYAML(&item, &cs.Not[i], "          ")
			b.WriteString("        - " + strings.TrimPrefix(item.String(), "          "))
		}
	}
	if slices.Equal(chain[0], chain[1]) {
		fmt.Fprintf(&b, "    chain: [%s]\n", strings.Join(chain[0], ", "))
		return b.String(), true
	}
	fmt.Fprintf(&b, "    client_to_server: [%s]\n", strings.Join(chain[0], ", "))
	if len(chain[1]) > 0 {
		fmt.Fprintf(&b, "    server_to_client: [%s]\n", strings.Join(chain[1], ", "))
	}
	return b.String(), true
}

func matchYAML(b *strings.Builder, c *ppf.Criteria, indent string) {
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s%s: %s\n", indent, key, value)
		}
	}
	if c.Protocol != ppf.ProtocolAny {
		proto := strings.ToLower(c.Protocol.String())
		if c.Protocol == packet.ProtoICMPv6 {
			proto = "58"
		}
		line("protocol", proto)
	}
	quoted := func(list []netip.Prefix) string {
		if len(list) == 0 {
			return ""
		}
		parts := make([]string, len(list))
		for i, p := range list {
			parts[i] = `"` + prefixText(p) + `"`
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	line("client", quoted(c.Src))
	line("server", quoted(c.Dst))
	if len(c.DstPorts) > 0 {
		parts := make([]string, len(c.DstPorts))
		for i, r := range c.DstPorts {
			parts[i] = `"` + r.String() + `"`
		}
		line("port", "["+strings.Join(parts, ", ")+"]")
	}
	line("in", c.In)
	line("out", c.Out)
}

func sameCriteria(a, b *ppf.Criteria) bool {
	return a.Family == b.Family && a.Protocol == b.Protocol && slices.Equal(a.Src, b.Src) && slices.Equal(a.Dst, b.Dst) &&
		slices.Equal(a.SrcPorts, b.SrcPorts) && slices.Equal(a.DstPorts, b.DstPorts) && a.In == b.In && a.Out == b.Out &&
		slices.EqualFunc(a.Not, b.Not, func(x, y ppf.Criteria) bool { return sameCriteria(&x, &y) })
}

// SameRule reports whether two rules say the same, as -D RULE asks.
func SameRule(a, b *ppf.RuleSpec) bool {
	return a.Chain == b.Chain && a.Plugin == b.Plugin && a.Config == b.Config && sameCriteria(&a.Criteria, &b.Criteria)
}
