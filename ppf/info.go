package ppf

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/promethos/promethos/packet"
)

// InstanceInfo is what can be told of one proxy instance.
type InstanceInfo struct {
	Name        string            `json:"name"`
	Origin      string            `json:"origin"` // file or runtime
	Number      [2]InstanceNumber `json:"numbers"`
	Hook        string            `json:"hook"`
	Hooks       [2][]string       `json:"hooks"` // where each flow is taken
	Layer       [2]uint8          `json:"layers"`
	Chain       [2][]string       `json:"chains"`
	Mode        string            `json:"mode"`
	Protecting  bool              `json:"protecting"` // false in monitor mode
	Connections int               `json:"connections"`
	Flow        [2]FlowCounters   `json:"flows"`
	// Messages are those of a chain with a stream function; what ends at a hook has
	// its packets in Flow.
	Messages *[2]MessageCounters `json:"messages,omitempty"`
	Match    [2]string           `json:"match"`
	Cookies  *CookieInfo         `json:"cookies,omitempty"` // with handshake: cookie
}

// ReasonCountInfo is how often a reason led to an outcome in an instance.
type ReasonCountInfo struct {
	Reason   string   `json:"reason"`
	Instance string   `json:"instance"` // "-": before an instance was found
	Count    uint64   `json:"count"`
	Action   string   `json:"action"` // drop, repair, would-drop, would-repair
	RFC      string   `json:"rfc"`
	CVE      []string `json:"cve"`
}

// Stats is the engine's accounting as a whole.
type Stats struct {
	Packets     FlowCounters `json:"packets"`   // of instances that run or ran
	Unmatched   FlowCounters `json:"unmatched"` // of no instance
	Connections int          `json:"connections"`
}

// retire keeps the counters of an instance that goes, so that sums never shrink.
func (e *Engine) retire(p *ProxyInstance) {
	for i, w := range e.workers[:min(len(e.workers), len(p.counters))] {
		w.mu.Lock()
		w.forgetFragments(&p.counters[i])
		w.mu.Unlock()
	}
	sum := e.sumCounters(p)
	sum.addTo(&e.retired)
}

// sumCounters adds the workers' counters of an instance up.
func (e *Engine) sumCounters(p *ProxyInstance) counters {
	var sum counters
	for i, w := range e.workers {
		if i >= len(p.counters) {
			break
		}
		w.mu.Lock()
		p.counters[i].addTo(&sum)
		w.mu.Unlock()
	}
	if p.source() == SourceListen {
		p.streams.addTo(&sum)
	}
	for d := range p.streams {
		sum.flow[d].Emitted += p.streams[d].emitted.Load()
	}
	return sum
}

func (e *Engine) sumOwn() counters {
	var sum counters
	for _, w := range e.workers {
		w.mu.Lock()
		w.engineOwn.addTo(&sum)
		w.mu.Unlock()
	}
	return sum
}

// Instances lists the proxy instances, those of files first, by number.
func (e *Engine) Instances() []InstanceInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	rules := e.allRules()
	var list []InstanceInfo
	for _, p := range *e.proxy.byID.Load() {
		if p == nil {
			continue
		}
		info := InstanceInfo{
			Name: p.Name, Origin: OriginRuntime.String(), Number: p.Number, Hook: p.hook().String(), Layer: p.Layer,
			Chain: p.Chain, Mode: p.Mode.String(), Protecting: p.Mode != Monitor,
			Connections: e.table.Count(p) + e.sessions.count(p), Flow: e.sumCounters(p).flow, Messages: p.messages(), Cookies: p.cookies(),
		}
		if p.spec != nil {
			info.Origin = OriginFile.String()
		}
		for _, r := range rules {
			d := slices.Index(p.Number[:], r.Number)
			if d < 0 {
				continue
			}
			info.Match[d] = r.Criteria.String()
			for _, h := range r.Hooks {
				info.Hooks[d] = append(info.Hooks[d], h.String())
			}
			if r.Beside != HookNone {
				info.Hooks[d] = append(info.Hooks[d], r.Beside.String())
			}
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b InstanceInfo) int { return cmp.Compare(a.Number[0], b.Number[0]) })
	return list
}

// ReasonCounts lists which reasons led to what in which instance, most frequent
// first.
func (e *Engine) ReasonCounts() []ReasonCountInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []ReasonCountInfo
	add := func(instance string, c counters) {
		for _, r := range packet.Reasons() {
			info := r.Info()
			for o := range numOutcomes {
				n := uint64(0)
				for d := range c.reasons {
					if i := r.Index(); i < len(c.reasons[d]) {
						n += c.reasons[d][i].n[o]
					}
				}
				if n > 0 {
					list = append(list, ReasonCountInfo{info.Name, instance, n, Outcome(o).String(), info.RFC, info.CVE})
				}
			}
		}
	}
	for _, p := range *e.proxy.byID.Load() {
		if p != nil {
			add(p.Name, e.sumCounters(p))
		}
	}
	own := e.sumOwn()
	add("-", own)
	slices.SortStableFunc(list, func(a, b ReasonCountInfo) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// Stats adds everything up. In every sum, packets that came in equal those that
// were sent, sent unchanged, dropped, queued, stolen, merged or held.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := e.retired
	for _, p := range *e.proxy.byID.Load() {
		if p != nil {
			c := e.sumCounters(p)
			c.addTo(&sum)
		}
	}
	own := e.sumOwn()
	s := Stats{Unmatched: own.flow[ClientToServer], Connections: e.table.Len() + e.sessions.len()}
	s.Packets.add(&sum.flow[ClientToServer])
	s.Packets.add(&sum.flow[ServerToClient])
	return s
}

// ZeroCounters sets the counters of all instances to zero.
func (e *Engine) ZeroCounters() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retired = counters{}
	for _, p := range *e.proxy.byID.Load() {
		if p != nil {
			p.streams.reset()
		}
	}
	for i, w := range e.workers {
		w.mu.Lock()
		w.engineOwn = counters{}
		for _, p := range *e.proxy.byID.Load() {
			if p != nil {
				p.counters[i] = counters{}
			}
		}
		w.mu.Unlock()
	}
}

// HalfInfo is what can be told of one half of a connection.
type HalfInfo struct {
	Received string    `json:"received"` // state by what this side sent us
	Sent     string    `json:"sent"`     // state by what we sent on for it
	LastSeen time.Time `json:"last_seen"`
	Packets  uint64    `json:"packets"`
	Bytes    uint64    `json:"bytes"`
	Seq      uint32    `json:"seq"`
	Ack      uint32    `json:"ack"`
	Window   uint16    `json:"window"`
	// Translation is what is added to this side's sequence numbers, modulo 2^32;
	// 0: they are carried over.
	Translation uint32 `json:"translation"`
	TTL         uint8  `json:"ttl"`
}

// ConnectionInfo is what can be told of one connection.
type ConnectionInfo struct {
	Instance string    `json:"instance"`
	Client   string    `json:"client"`
	Server   string    `json:"server"`
	Protocol string    `json:"protocol"`
	State    string    `json:"state"`
	CS       HalfInfo  `json:"cs"`
	SC       HalfInfo  `json:"sc"`
	About    string    `json:"about,omitempty"`   // of a stream: TLS version, cipher and name
	SentAs   string    `json:"sent_as,omitempty"` // the client as the server sees it, where it is exchanged
	Leg      string    `json:"leg,omitempty"`     // client or server: the side of a connection that ends here
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
}

// StateNamer is a Processor that names the states it keeps in connection
// halves, for lists.
type StateNamer interface {
	// StateName names the connection's state as a whole; "" for one of a protocol
	// that the Processor does not track.
	StateName(c *Conn) string
	// HalfStateName names a Received or Sent value of a half.
	HalfStateName(state uint8) string
}

// ConnectionFilter says which connections to list; what is empty lets all pass.
type ConnectionFilter struct {
	Instance       string
	Protocol       string // as ConnectionInfo spells it, in any case
	State          string // likewise
	Client, Server netip.Prefix
	ServerPort     uint16
	Limit          int // at most so many
}

// match reports whether a connection of p passes as far as the key tells.
func (f *ConnectionFilter) match(p *ProxyInstance, c *Conn) bool {
	k := &c.key[ClientToServer]
	return (f.Instance == "" || f.Instance == p.Name) &&
		(f.Protocol == "" || strings.EqualFold(f.Protocol, k.Protocol.String())) &&
		(!f.Client.IsValid() || f.Client.Contains(k.SrcAddr())) &&
		(!f.Server.IsValid() || f.Server.Contains(k.DstAddr())) &&
		(f.ServerPort == 0 || f.ServerPort == k.DstPort)
}

// Connections lists at most limit connections (0: all) of an instance, or of
// all ("").
func (e *Engine) Connections(instance string, limit int) []ConnectionInfo {
	return e.FindConnections(ConnectionFilter{Instance: instance, Limit: limit})
}

// FindConnections lists the connections that a filter lets pass, by instance and
// age.
func (e *Engine) FindConnections(f ConnectionFilter) []ConnectionInfo {
	list := []ConnectionInfo{}
	e.table.each(func(c *Conn) bool {
		p := e.proxy.proxyOf(c.proxy)
		if f.Limit > 0 && len(list) >= f.Limit || !f.match(p, c) {
			return true
		}
		if info := e.describe(p, c); f.State == "" || strings.EqualFold(f.State, info.State) {
			list = append(list, info)
		}
		return true
	})
	list = append(list, e.findSessions(&f, len(list))...)
	slices.SortFunc(list, func(a, b ConnectionInfo) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), a.Created.Compare(b.Created))
	})
	return list
}

func (e *Engine) describe(p *ProxyInstance, c *Conn) ConnectionInfo {
	cs, sc := &c.key[ClientToServer], &c.key[ServerToClient]
	info := ConnectionInfo{
		Instance: p.Name, Protocol: strings.ToLower(cs.Protocol.String()),
		Client:  netip.AddrPortFrom(cs.SrcAddr(), cs.SrcPort).String(),
		Server:  netip.AddrPortFrom(cs.DstAddr(), cs.DstPort).String(),
		Created: time.Unix(0, c.Created), Expires: time.Unix(0, e.table.Deadline(c)),
	}
	switch cs.Group {
	case arriving:
		info.Leg = "client"
	case leaving:
		info.Leg = "server"
	}
	if sc.Dst != cs.Src || sc.DstPort != cs.SrcPort {
		info.SentAs = netip.AddrPortFrom(sc.DstAddr(), sc.DstPort).String()
	}
	var names StateNamer
	var add [2]packet.Seq
	for _, proc := range p.processors {
		if t, ok := proc.(NumberTranslator); ok && c.Translated {
			add = t.Translation(c)
		}
	}
	for _, proc := range p.processors {
		if n, ok := proc.(StateNamer); ok {
			if info.State = n.StateName(c); info.State != "" {
				names = n
				break
			}
		}
	}
	half := func(h *Half) HalfInfo {
		hi := HalfInfo{
			LastSeen: time.Unix(0, h.Timestamp), Packets: h.Packets, Bytes: h.Bytes,
			Seq: uint32(h.L4.Seq), Ack: uint32(h.L4.Ack), Window: h.L4.Window, TTL: h.L3.TTL,
		}
		if names != nil {
			hi.Received, hi.Sent = names.HalfStateName(h.Received), names.HalfStateName(h.Sent)
		}
		return hi
	}
	info.CS, info.SC = half(&c.Half[ClientToServer]), half(&c.Half[ServerToClient])
	info.CS.Translation, info.SC.Translation = uint32(add[ClientToServer]), uint32(add[ServerToClient])
	return info
}

// reasonByName finds a reason by its stable name.
func reasonByName(name string) (Reason, bool) { return packet.ReasonByName(name) }
