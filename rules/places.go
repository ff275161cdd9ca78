package rules

import "github.com/promethos/promethos/ppf"

// place is a base chain of our table.
type place uint8

const (
	placeFragments place = iota
	placeEarly
	placeEarlyForwarded
	placeEarlyOutput
	placeZoneIn
	placePrerouting
	placeHold
	placeDivert
	placeInput
	placeForward
	placeHide
	placeZoneOut
	placeOutput
	placePostrouting
	numPlaces
)

// placeInfo says where a base chain stands. The kernel's own priorities are those
// of enum nf_ip_hook_priorities (include/uapi/linux/netfilter_ipv4.h), the
// operator's filter is nft's "filter".
type placeInfo struct {
	name     string
	hook     ppf.Hook
	priority int32
	why      string
}

// places is the table in docs/hooks.md; a test compares the two.
var places = [numPlaces]placeInfo{
	placeFragments:      {"fragments", ppf.Prerouting, -450, "before the kernel's defragmentation (-400): a fragment is judged as it came"},
	placeEarly:          {"early", ppf.Prerouting, -310, "before raw (-300), conntrack (-200) and routing: exchanged addresses and sequence numbers are restored first"},
	placeEarlyForwarded: {"early_forwarded", ppf.Prerouting, -309, "as early, for servers that are a network: what is for this machine itself passes untouched"},
	placeEarlyOutput:    {"early_output", ppf.Output, -310, "before raw (-300) and conntrack (-200), which then see the numbers that the client sees"},
	placeZoneIn:         {"zone_in", ppf.Prerouting, -210, "before conntrack (-200): the client's side of a connection that ends here gets a zone of its own"},
	placePrerouting:     {"prerouting", ppf.Prerouting, -90, "after DNAT (-100): both flows show the real client and server, also with masquerade"},
	placeHold:           {"hold", ppf.Prerouting, -85, "after the packet was built: a client's SYN waits until the server has accepted"},
	placeDivert:         {"divert", ppf.Prerouting, -80, "after the packet was built, before routing: what belongs to a socket of ours goes to it"},
	placeInput:          {"input", ppf.Input, -10, "before the operator's filter (0), which judges the packet that was built"},
	placeForward:        {"forward", ppf.Forward, -10, "before the operator's filter (0), which judges the packet that was built"},
	placeHide:           {"hide", ppf.Output, -210, "before conntrack (-200), which must not see answers to a handshake that it knows nothing of"},
	placeZoneOut:        {"zone_out", ppf.Output, -210, "before conntrack (-200): as zone_in, for what the client's side sends"},
	placeOutput:         {"output", ppf.Output, -10, "after DNAT (-100), before the operator's filter (0), which judges the packet that was built"},
	placePostrouting:    {"postrouting", ppf.Postrouting, 90, "before SNAT and masquerade (100): the client's real address is still there"},
}

// place tells in which base chain the selector's rules stand.
func (s *Selector) place() place {
	switch s.Hook {
	case ppf.Prerouting:
		switch {
		case s.sparesOwn():
			return placeEarlyForwarded
		case s.Early:
			return placeEarly
		}
		return placePrerouting
	case ppf.Input:
		return placeInput
	case ppf.Output:
		if s.Early {
			return placeEarlyOutput
		}
		return placeOutput
	case ppf.Postrouting:
		return placePostrouting
	default:
		return placeForward
	}
}
