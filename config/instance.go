package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// instance checks one entry and gives its specification.
func (l *loader) instance(in *instance) ppf.InstanceSpec {
	s := ppf.InstanceSpec{
		Pos: in.pos, Name: in.Name.Value, Source: in.Source.Value, Hook: in.Hook.Value, Initiate: in.Initiate.Value,
		Others: in.Others.Value, Mode: in.Mode.Value, Fail: in.Fail.Value, Modules: in.Modules, Drain: in.Drain.Value,
		Handshake: in.Handshake.Value, UpstreamAddress: in.Address.Value, Pending: in.Pending.Value,
	}
	if in.Pending.Set && s.Pending < 1 && !in.Pending.Bad {
		l.add(in.Pending.Pos, in.path+".pending", "write a number from 1 on", "%d is out of range", s.Pending)
	}
	if (s.Drain < 0 || s.Drain > time.Hour) && !in.Drain.Bad {
		l.add(in.Drain.Pos, in.path+".drain", "write a time such as 5s", "%v is out of range (0s to 1h)", s.Drain)
	}
	switch {
	case !in.Name.Set:
		l.add(in.pos, in.path+".name", "add `name: NAME`", "the name is missing")
	case strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || len(s.Name) > 64 || s.Name == "":
		l.add(in.Name.Pos, in.path+".name", "use up to 64 letters, digits, '-', '_' and '.'", "name %q is not a name", s.Name)
	}
	l.unsupported(in)
	if in.Source.Value == ppf.SourceListen {
		l.listen(in, &s)
	} else if in.Source.Value == ppf.SourceInline {
		l.inline(in, &s)
	} else if !in.Match.Set {
		l.add(in.pos, in.path+".match", "add `match: {protocol: tcp, server: ADDRESS}`", "the match is missing: it says which server is protected")
	} else {
		s.Match = l.match(&in.Match.Value, in.path+".match")
		if len(s.Match.Server) == 0 {
			l.add(in.Match.Pos, in.path+".match.server", "add `server: ADDRESS`", "the server is missing")
		}
		l.directions(in, &s)
		l.onlyIP(in, &s)
	}
	s.Chain = l.chains(in)
	s.Reasons = l.overrides(in)
	for name, v := range in.Modules {
		if !slices.Contains(s.Chain[0], name) && !slices.Contains(s.Chain[1], name) {
			l.add(v.Pos, in.path+".modules."+name, ppf.Suggest(name, slices.Concat(s.Chain[0], s.Chain[1])), "settings for %q, which is not in the chain", name)
		}
	}
	return s
}

// unsupported refuses settings of other sources: they must not be ignored. Those
// of stream chains are checked when the chain is.
func (l *loader) unsupported(in *instance) {
	const fix = "leave it out for a chain of packet functions"
	if in.Upstream.Set && in.Source.Value != ppf.SourceListen {
		l.add(in.Upstream.Pos, in.path+".upstream", fix, "upstream needs source: listen")
	}
	if in.Listen.Set && in.Source.Value != ppf.SourceListen {
		l.add(in.Listen.Pos, in.path+".listen", fix, "listen needs source: listen")
	}
	if in.Inline.Set && in.Source.Value != ppf.SourceInline {
		l.add(in.Inline.Pos, in.path+".inline", fix, "inline needs source: inline")
	}
}

// listen checks what a listener needs: two addresses, and nothing that selects
// packets. Its server is the only thing it leads to.
func (l *loader) listen(in *instance, s *ppf.InstanceSpec) {
	s.Hook = ppf.HookNone
	for _, a := range []struct {
		key  string
		text located[string]
		to   *netip.AddrPort
	}{{"listen", in.Listen, &s.Listen}, {"upstream", in.Upstream, &s.Upstream}} {
		addr, err := netip.ParseAddrPort(a.text.Value)
		switch {
		case !a.text.Set:
			l.add(in.pos, in.path+"."+a.key, "add `"+a.key+": ADDRESS:PORT`", "source: listen needs it")
		case err != nil || addr.Addr().Zone() != "":
			l.add(a.text.Pos, in.path+"."+a.key, "write ADDRESS:PORT, such as 192.0.2.1:80 or [2001:db8::1]:80", "%q is no address and port", a.text.Value)
		}
		*a.to = addr
	}
	if a := s.Upstream.Addr(); a.IsValid() {
		s.Match = ppf.Match{
			Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())},
			Port: []ppf.PortRange{{Lo: s.Upstream.Port(), Hi: s.Upstream.Port()}},
		}
	}
	const fix = "leave it out: a listener takes what comes to it"
	for _, k := range []struct {
		key string
		pos ppf.Pos
		set bool
	}{
		{"match", in.Match.Pos, in.Match.Set}, {"hook", in.Hook.Pos, in.Hook.Set}, {"others", in.Others.Pos, in.Others.Set},
		{"fail", in.Fail.Pos, in.Fail.Set && s.Fail == ppf.FailOpen}, {"client_to_server", in.CS.Pos, in.CS.Set},
	} {
		if k.set {
			l.add(k.pos, in.path+"."+k.key, fix, "%s says nothing for source: listen", k.key)
		}
	}
}

// match checks a match and what it excludes.
func (l *loader) match(m *match, path string) ppf.Match {
	s := l.plainMatch(m, path)
	for i, v := range m.Not.Value {
		p := path + ".not"
		if len(m.Not.Value) > 1 {
			p = fmt.Sprintf("%s[%d]", p, i)
		}
		var n match
		problems := ppf.Decode(&n, v, p)
		l.problems = append(l.problems, problems...)
		if len(problems) > 0 {
			continue
		}
		if n.Not.Set {
			l.add(n.Not.Pos, p+".not", "write the keys directly", "not inside not")
			continue
		}
		x := l.plainMatch(&n, p)
		if n.Protocol.Value == ppf.ProtocolAny && !n.Protocol.ARP && n.Protocol.Pos.Line > 0 {
			l.add(n.Protocol.Pos, p+".protocol", "name one protocol", "excluding every protocol leaves nothing")
		}
		// Each key excludes by itself.
		for _, one := range []ppf.Match{{Protocol: x.Protocol}, {ARP: x.ARP}, {Server: x.Server}, {Client: x.Client}, {Port: x.Port}, {In: x.In}, {Out: x.Out}} {
			if one.Protocol != 0 || one.ARP || one.Server != nil || one.Client != nil || one.Port != nil || one.In != "" || one.Out != "" {
				s.Not = append(s.Not, one)
			}
		}
	}
	if len(s.Port) > 0 && s.Protocol != packet.ProtoTCP && s.Protocol != packet.ProtoUDP {
		l.add(m.Port.Pos, path+".port", "add `protocol: tcp` or `protocol: udp`", "ports need a protocol that has them")
	}
	return s
}

// plainMatch checks the keys that a match and an exclusion share.
func (l *loader) plainMatch(m *match, path string) ppf.Match {
	s := ppf.Match{Protocol: m.Protocol.Value, ARP: m.Protocol.ARP, Server: m.Server.Value, Client: m.Client.Value, In: m.In.Value, Out: m.Out.Value}
	for _, r := range m.Port.Value {
		s.Port = append(s.Port, ppf.PortRange(r))
	}
	if len(s.Server) > 0 && len(s.Client) > 0 && !slices.ContainsFunc(s.Server, func(a netip.Prefix) bool {
		return slices.ContainsFunc(s.Client, func(b netip.Prefix) bool { return a.Addr().Is4() == b.Addr().Is4() })
	}) {
		l.add(m.Client.Pos, path+".client", "use addresses of one IP version", "client and server have no IP version in common")
	}
	for _, d := range []struct {
		key  string
		name located[string]
	}{{"in", m.In}, {"out", m.Out}} {
		if d.name.Set && (d.name.Value == "" || len(d.name.Value) > maxInterface || strings.ContainsAny(d.name.Value, "/ \t")) {
			l.add(d.name.Pos, path+"."+d.key, "write an interface name such as eth0, or eth+ for all that start so", "%q is not an interface name", d.name.Value)
		}
	}
	return s
}

// onlyIP refuses ARP where only IP packets come: at the hooks of netfilter.
func (l *loader) onlyIP(in *instance, s *ppf.InstanceSpec) {
	if s.Match.ARP || slices.ContainsFunc(s.Match.Not, func(m ppf.Match) bool { return m.ARP }) {
		l.add(in.Match.Pos, in.path+".match.protocol", "use source: inline, where frames come", "protocol arp is for source: inline: the hooks of netfilter see IP packets only")
	}
}

// directions refuses interfaces that a hook does not know. Both flows are
// looked at: what comes in for one goes out for the other.
func (l *loader) directions(in *instance, s *ppf.InstanceSpec) {
	m := &in.Match.Value
	refuse := func(key string, name located[string], why string) {
		if name.Set {
			l.add(name.Pos, in.path+".match."+key, "use hook: forward, which knows both", "%s", why)
		}
	}
	switch s.Hook {
	case ppf.Prerouting:
		refuse("out", m.Out, "the outgoing interface is not known at prerouting")
		refuse("in", m.In, "the way back is taken at prerouting too, where its outgoing interface is not known")
	case ppf.Input:
		refuse("out", m.Out, "there is no outgoing interface at input")
	case ppf.Output:
		refuse("in", m.In, "there is no incoming interface at output")
	case ppf.Postrouting:
		refuse("in", m.In, "the incoming interface is not known at postrouting")
		refuse("out", m.Out, "the way back is taken at postrouting too, where its incoming interface is not known")
	}
}

// chains checks the function lists.
func (l *loader) chains(in *instance) (chains [2][]string) {
	switch {
	case in.Chain.Set && (in.CS.Set || in.SC.Set):
		l.add(in.Chain.Pos, in.path+".chain", "keep `chain` for both flows, or one list for each", "chain and a list of one flow are both given")
	case in.SC.Set && !in.CS.Set:
		l.add(in.SC.Pos, in.path+".server_to_client", "add `client_to_server: [...]`", "a server-to-client flow alone: an instance starts with the other one")
	case !in.Chain.Set && !in.CS.Set:
		l.add(in.pos, in.path+".chain", "add `chain: [tcp]`", "the chain is missing")
	}
	if in.Chain.Set {
		list := l.functions(in.Chain, in.path+".chain")
		return [2][]string{list, list}
	}
	if in.CS.Set {
		chains[ppf.ClientToServer] = l.functions(in.CS, in.path+".client_to_server")
	}
	if in.SC.Set {
		chains[ppf.ServerToClient] = l.functions(in.SC, in.path+".server_to_client")
	}
	return chains
}

func (l *loader) functions(list located[[]located[string]], path string) []string {
	if len(list.Value) == 0 {
		l.add(list.Pos, path, "name at least one user function", "the list is empty")
	}
	var names []string
	for i, f := range list.Value {
		p := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !slices.Contains(l.known, f.Value):
			l.add(f.Pos, p, ppf.Suggest(f.Value, l.known), "user function %q is unknown", f.Value)
		case slices.Contains(names, f.Value):
			l.add(f.Pos, p, "keep one of them", "user function %q stands twice in one flow", f.Value)
		}
		names = append(names, f.Value)
	}
	return names
}

// overrides reads `reasons:`: a word, or a list of words and {client, do}.
func (l *loader) overrides(in *instance) (list []ppf.Override) {
	path := in.path + ".reasons"
	if in.Reasons.Kind == ppf.ValueNull {
		return nil
	}
	if in.Reasons.Kind != ppf.ValueMap {
		l.add(in.Reasons.Pos, path, "write `reason: monitor|repair|refuse` lines", "it is not a map")
		return nil
	}
	for _, kv := range in.Reasons.Map {
		items := []ppf.Value{kv.Value}
		if kv.Value.Kind == ppf.ValueList {
			items = kv.Value.List
		}
		p := path + "." + kv.Key
		r, known := packet.ReasonByName(kv.Key)
		if !known {
			var names []string
			for _, r := range packet.Reasons() {
				names = append(names, r.String())
			}
			l.add(kv.Pos, p, cmp.Or(ppf.Suggest(kv.Key, names), "`promethos reasons --all` lists them"), "reason %q is unknown", kv.Key)
		}
		for _, item := range items {
			o := l.override(item, p)
			o.Reason = kv.Key
			if info := r.Info(); known && o.Do == ppf.DoRepair && info.Class == packet.Refused && !info.Repairable {
				l.add(item.Pos, p, "write monitor or refuse", "%s is a contradiction and has no repair", kv.Key)
			}
			list = append(list, o)
		}
	}
	return list
}

func (l *loader) override(v ppf.Value, path string) ppf.Override {
	o := ppf.Override{Pos: v.Pos}
	do := words[ppf.Do]("monitor", ppf.DoMonitor, "repair", ppf.DoRepair, "refuse", ppf.DoRefuse)
	if v.Kind != ppf.ValueMap {
		l.problems = append(l.problems, ppf.Decode(&do, v, path)...)
		o.Do = do.Value
		return o
	}
	e := struct {
		Client netip.Prefix   `conf:"client"`
		Do     choice[ppf.Do] `conf:"do"`
	}{Do: do}
	l.problems = append(l.problems, ppf.Decode(&e, v, path)...)
	if !e.Do.Set {
		l.add(v.Pos, path+".do", "add `do: monitor|repair|refuse`", "what to do is missing")
	}
	o.Client, o.Do = e.Client, e.Do.Value
	return o
}

// warn tells of overlaps, and of what stays untouched of a server.
func (l *loader) warn() {
	for i := range l.spec.Instances {
		b := &l.spec.Instances[i]
		for j := range i {
			if a := &l.spec.Instances[j]; a.Hook == b.Hook && a.Inline == b.Inline && b.Source != ppf.SourceListen && overlap(&a.Match, &b.Match) {
				l.problems = append(l.problems, ppf.Problem{
					Pos: b.Pos, Path: fmt.Sprintf("instances[%d].match", i), Warning: true,
					What: fmt.Sprintf("overlaps with instance %s at %v, which comes first and takes what both match", a.Name, a.Pos),
					Fix:  "put the narrower one first, or exclude with `not:`",
				})
			}
		}
		// What nobody matches on a wire is dropped.
		if b.Others == ppf.OthersPass && b.Source == ppf.SourceNFQueue {
			if rest := untouched(&b.Match); rest != "" {
				l.problems = append(l.problems, ppf.Problem{
					Pos: b.Pos, Path: fmt.Sprintf("instances[%d]", i), Warning: true,
					What: "not protected by this instance: " + rest, Fix: "`others: refuse`, or instances for it",
				})
			}
		}
	}
}

// untouched tells in words what a match leaves out of its servers.
func untouched(m *ppf.Match) string {
	var rest []string
	if m.Protocol != ppf.ProtocolAny {
		rest = append(rest, "protocols other than "+m.Protocol.String())
	}
	if len(m.Port) > 0 {
		rest = append(rest, "other ports")
	}
	if v4 := slices.ContainsFunc(m.Server, func(p netip.Prefix) bool { return p.Addr().Is4() }); len(m.Server) > 0 {
		if v6 := slices.ContainsFunc(m.Server, func(p netip.Prefix) bool { return p.Addr().Is6() }); !v6 {
			rest = append(rest, "IPv6 addresses of the server")
		} else if !v4 {
			rest = append(rest, "IPv4 addresses of the server")
		}
	}
	if len(m.Client) > 0 || m.In != "" || m.Out != "" || len(m.Not) > 0 {
		rest = append(rest, "clients and interfaces that the match leaves out")
	}
	return strings.Join(rest, ", ")
}

// Shadows reports whether an instance takes all traffic of a server, or of some of
// its ports, that another one is for, and stands before it.
func Shadows(before, behind *ppf.InstanceSpec) bool {
	if before.Hook != behind.Hook || before.Inline != behind.Inline || before.Source == ppf.SourceListen || len(before.Match.Client) > 0 || !overlap(&before.Match, &behind.Match) {
		return false
	}
	return len(before.Match.Server) == 0 || slices.ContainsFunc(behind.Match.Server, func(s netip.Prefix) bool {
		return s.IsSingleIP() && slices.ContainsFunc(before.Match.Server, func(b netip.Prefix) bool { return b.Contains(s.Addr()) })
	})
}

// overlap reports whether a packet can match both; exclusions count as none.
func overlap(a, b *ppf.Match) bool {
	nets := func(x, y []netip.Prefix) bool {
		return len(x) == 0 || len(y) == 0 || slices.ContainsFunc(x, func(p netip.Prefix) bool { return slices.ContainsFunc(y, p.Overlaps) })
	}
	ports := len(a.Port) == 0 || len(b.Port) == 0 || slices.ContainsFunc(a.Port, func(p ppf.PortRange) bool {
		return slices.ContainsFunc(b.Port, func(q ppf.PortRange) bool { return p.Lo <= q.Hi && q.Lo <= p.Hi })
	})
	protocols := a.Protocol == b.Protocol || a.Protocol == ppf.ProtocolAny || b.Protocol == ppf.ProtocolAny
	if a.ARP != b.ARP {
		protocols = a.Protocol == ppf.ProtocolAny && b.Protocol == ppf.ProtocolAny
	}
	return protocols &&
		nets(a.Server, b.Server) && nets(a.Client, b.Client) && ports &&
		(a.In == b.In || a.In == "" || b.In == "") && (a.Out == b.Out || a.Out == "" || b.Out == "")
}
