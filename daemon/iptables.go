package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

// IPTables executes the thesis' command; see control.Backend.
func (d *Daemon) IPTables(_ context.Context, args []string) control.CommandResult {
	cmd, problems := config.ParseIPTables(args)
	if len(problems) > 0 {
		r := control.CommandResult{Code: 2}
		for _, p := range problems {
			r.Errors = append(r.Errors, p.Error())
		}
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	output, err := d.execute(cmd)
	if err != nil {
		return control.CommandResult{Output: output, Errors: []string{"iptables: " + err.Error()}, Code: 1}
	}
	return control.CommandResult{Output: output}
}

func (d *Daemon) execute(cmd *config.Command) (string, error) {
	switch cmd.Op {
	case config.OpList:
		return d.listRules(cmd), nil
	case config.OpSpecs:
		return d.ruleSpecs(cmd), nil
	case config.OpZero:
		d.engine.ZeroCounters()
		return "", nil
	case config.OpAppend, config.OpInsert:
		if err := d.mayTake("rule"); err != nil {
			return "", err
		}
		position := 0
		if cmd.Op == config.OpInsert {
			position = max(cmd.Position, 1)
		}
		n, err := d.engine.InsertRule(cmd.Rule, position)
		return d.made(n, err)
	case config.OpReplace:
		if err := d.mayTake("rule"); err != nil {
			return "", err
		}
		n, err := d.engine.ReplaceRule(cmd.Rule, cmd.Position)
		return d.made(n, err)
	case config.OpDelete:
		return "", d.delete(cmd)
	}
	kept, err := d.engine.FlushRules(cmd.Chain)
	if err != nil {
		return "", err
	}
	output := ""
	if kept > 0 {
		output = fmt.Sprintf("%d rules of the configuration file stay (edit the file and `promethos reload`)\n", kept)
	}
	return output, d.selectPackets()
}

// made makes the kernel select what a new rule asks for; when that fails the
// rule goes again.
func (d *Daemon) made(n ppf.InstanceNumber, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if err := d.selectPackets(); err != nil {
		for h := ppf.Prerouting; int(h) < ppf.NumHooks; h++ {
			if i := d.engine.FindRule(h, func(r *ppf.Rule) bool { return r.Number == n }); i > 0 {
				return "", fmt.Errorf("%w; the rule was taken back: %w", err, d.engine.DeleteRule(h, i))
			}
		}
		return "", err
	}
	return fmt.Sprintf("got unique instance %d\n", n), nil
}

func (d *Daemon) delete(cmd *config.Command) error {
	position := cmd.Position
	if cmd.HasRule {
		position = d.engine.FindRule(cmd.Chain, func(r *ppf.Rule) bool {
			return config.SameRule(&cmd.Rule, &ppf.RuleSpec{Chain: r.Chain, Criteria: r.Criteria, Plugin: r.Plugin, Config: r.Config})
		})
		if position == 0 {
			return fmt.Errorf("chain %s: no rule says that (`-S` prints what there is)", strings.ToUpper(cmd.Chain.String()))
		}
	}
	if err := d.engine.DeleteRule(cmd.Chain, position); err != nil {
		return err
	}
	return d.selectPackets()
}

// each calls f for the chains that a command names.
func each(cmd *config.Command, f func(ppf.Hook)) {
	for h := ppf.Prerouting; int(h) < ppf.NumHooks; h++ {
		if cmd.Chain == ppf.HookNone || cmd.Chain == h {
			f(h)
		}
	}
}

// listRules prints what `iptables -L` prints, as appendix A.1 shows it.
func (d *Daemon) listRules(cmd *config.Command) string {
	var b strings.Builder
	flows := map[ppf.InstanceNumber]ppf.FlowCounters{}
	for _, in := range d.engine.Instances() {
		for i, n := range in.Number {
			flows[n] = in.Flow[i]
		}
	}
	each(cmd, func(h ppf.Hook) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Chain %s (policy ACCEPT)\n", strings.ToUpper(h.String()))
		if cmd.LineNumbers {
			fmt.Fprintf(&b, "%-5s", "num")
		}
		if cmd.Verbose {
			fmt.Fprintf(&b, "%8s %8s ", "pkts", "bytes")
		}
		fmt.Fprintf(&b, "%-10s %-5s %-4s %-20s %-20s\n", "target", "prot", "opt", "source", "destination")
		for i, r := range d.engine.Rules(h) {
			if cmd.LineNumbers {
				fmt.Fprintf(&b, "%-5d", i+1)
			}
			if cmd.Verbose {
				fmt.Fprintf(&b, "%8d %8d ", flows[r.Number].In, flows[r.Number].InBytes)
			}
			b.WriteString(listed(r, cmd.Numeric))
		}
	})
	return b.String()
}

func listed(r *ppf.Rule, numeric bool) string {
	c := r.Criteria
	everywhere := "anywhere"
	if numeric {
		everywhere = "0.0.0.0/0"
		if c.Family == ppf.FamilyIPv6 {
			everywhere = "::/0"
		}
	}
	proto := "all"
	if c.Protocol != ppf.ProtocolAny {
		proto = strings.ToLower(c.Protocol.String())
	}
	from, to := everywhere, everywhere
	if len(c.Src) > 0 {
		from = config.AddressList(c.Src)
	}
	if len(c.Dst) > 0 {
		to = config.AddressList(c.Dst)
	}
	rest := c
	rest.Src, rest.Dst, rest.Protocol = nil, nil, ppf.ProtocolAny
	extra := config.CriteriaText(&rest)
	origin := ""
	if r.Origin == ppf.OriginFile {
		origin = " /* " + r.Name + " */"
	}
	return fmt.Sprintf("%-10s %-5s %-4s %-20s %-20s%s PROMETHOS_%s#%d '%s'%s\n",
		"PROMETHOS", proto, "--", from, to, extra, r.Plugin, r.Number, r.Config, origin)
}

// ruleSpecs prints the rules as commands, or with --yaml as a file's instances.
func (d *Daemon) ruleSpecs(cmd *config.Command) string {
	var b strings.Builder
	if cmd.YAML {
		b.WriteString("version: 1\ninstances:\n")
		for _, in := range d.engine.Instances() {
			if in.Origin == ppf.OriginRuntime.String() {
				b.WriteString(d.yaml(&in))
			}
		}
		return b.String()
	}
	each(cmd, func(h ppf.Hook) { fmt.Fprintf(&b, "-P %s ACCEPT\n", strings.ToUpper(h.String())) })
	each(cmd, func(h ppf.Hook) {
		for _, r := range d.engine.Rules(h) {
			if r.Origin == ppf.OriginRuntime {
				fmt.Fprintln(&b, config.RuleText(&ppf.RuleSpec{Chain: r.Chain, Criteria: r.Criteria, Plugin: r.Plugin, Config: r.Config}))
			}
		}
	})
	return b.String()
}

func (d *Daemon) yaml(in *ppf.InstanceInfo) string {
	var criteria [2]*ppf.Criteria
	var hook ppf.Hook
	for _, r := range d.engine.AllRules() {
		for i, n := range in.Number {
			if r.Number == n {
				criteria[i] = &r.Criteria
			}
		}
		if r.Number == in.Number[ppf.ClientToServer] {
			hook = r.Chain
		}
	}
	name := strings.ReplaceAll("instance-"+in.Name, "/", "-")
	text, ok := config.InstanceYAML(name, hook, *criteria[0], criteria[1], in.Chain)
	if !ok {
		return fmt.Sprintf("  # %s: its two flows are not each other's reverse; a file has no form for it\n", name)
	}
	return text
}
