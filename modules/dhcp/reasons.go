package dhcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in messages.
var (
	ReasonTruncated = newReason(ppf.ReasonInfo{Name: "dhcp.truncated", Field: "dhcp.length", RFC: "2131 §2",
		Doc: "the datagram ends inside the fixed fields of the message", CVE: []string{"CVE-2020-11903"}, Trips: "none known"})
	ReasonTooLong = newReason(ppf.ReasonInfo{Name: "dhcp.too-long", Field: "dhcp.length", RFC: "2131 §2",
		Doc:   "the message, written anew, would be longer than it came and than every host takes",
		Trips: "servers that fill all room for options, the fields for names included", Relax: "reasons: {dhcp.too-long: monitor}, or fewer options at the server"})
	ReasonHeader = newReason(ppf.ReasonInfo{Name: "dhcp.header", Field: "dhcp.op", RFC: "2131 §2",
		Doc: "op, hardware type, address length or hop count is none of a DHCP message on Ethernet", CVE: []string{"CVE-2020-11903"},
		Trips: "hosts on InfiniBand or FireWire", Relax: "reasons: {dhcp.header: monitor}"})
	ReasonCookie = newReason(ppf.ReasonInfo{Name: "dhcp.cookie", Field: "dhcp.cookie", RFC: "2132 §2",
		Doc: "the options do not begin as those of DHCP do", Trips: "hosts that still speak BOOTP", Relax: "reasons: {dhcp.cookie: monitor}"})
	ReasonText = newReason(ppf.ReasonInfo{Name: "dhcp.text", Field: "dhcp.sname", RFC: "2131 §2",
		Doc: "the name of the server or the boot file does not end within its field, or is no text", CVE: []string{"CVE-2020-11908"}, Trips: "none known"})
	ReasonType = newReason(ppf.ReasonInfo{Name: "dhcp.type", Field: "dhcp.message-type", RFC: "2131 §4.1",
		Doc:   "the message has no type, one that is not known, or a client's with the op of a server or the other way round",
		Trips: "servers that ask clients to renew (RFC 3203), and lease queries (RFC 4388)", Relax: "reasons: {dhcp.type: monitor}"})
	ReasonPort = newReason(ppf.ReasonInfo{Name: "dhcp.port", Field: "udp.port", RFC: "2131 §4.1",
		Doc: "the ports are not those between which such a message travels", Trips: "none known"})
	ReasonServer = newReason(ppf.ReasonInfo{Name: "dhcp.server", Field: "dhcp.message-type", RFC: "7610 §4",
		Doc:   "a server's message from a side where none stands",
		CVE:   []string{"CVE-2019-12257", "CVE-2019-12264", "CVE-2020-11903", "CVE-2021-31881", "CVE-2021-31882", "CVE-2021-31883"},
		Trips: "DHCP servers on a side that servers does not name", Relax: "modules: {dhcp: {servers: both}}"})
	ReasonUnsolicited = newReason(ppf.ReasonInfo{Name: "dhcp.unsolicited", Field: "dhcp.xid", RFC: "2131 §4.4.1",
		Doc:   "a server's answer to a request that nobody has made within wait",
		CVE:   []string{"CVE-2019-12257", "CVE-2020-11903", "CVE-2021-31881", "CVE-2021-31882", "CVE-2021-31883"},
		Trips: "answers to a request that came before a restart", Relax: "modules: {dhcp: {wait: 5m}}"})
	ReasonAddress = newReason(ppf.ReasonInfo{Name: "dhcp.address", Field: "dhcp.yiaddr", RFC: "2131 §3.1",
		Doc:   "an address in the message is none that a host can have, or an offer has none",
		CVE:   []string{"CVE-2019-12264", "CVE-2019-13939"},
		Trips: "none known"})
	ReasonRelay = newReason(ppf.ReasonInfo{Name: "dhcp.relay", Field: "dhcp.giaddr", RFC: "1542 §4.1",
		Doc:   "a message of a relay agent, where none is to pass, or one that contradicts what relay agents do",
		Trips: "relay agents on one side of the wire with their server on the other", Relax: "modules: {dhcp: {relays: pass}}"})

	ReasonOptionEnd = newReason(ppf.ReasonInfo{Name: "dhcp.option.beyond-end", Field: "dhcp.option.length", RFC: "2132 §2",
		Doc:   "an option goes beyond the field that holds it",
		CVE:   []string{"CVE-2019-12257", "CVE-2020-11903", "CVE-2020-7461", "CVE-2021-31881", "CVE-2021-31882", "CVE-2021-31883"},
		Trips: "none known"})
	ReasonOptionSize = newReason(ppf.ReasonInfo{Name: "dhcp.option.length-wrong", Field: "dhcp.option.length", RFC: "2132 §2",
		Doc:   "a known option has a length that it cannot have, or lists more addresses than the setting allows",
		CVE:   []string{"CVE-2019-12257", "CVE-2021-31881", "CVE-2021-31882", "CVE-2021-31883"},
		Trips: "servers that list more than 8 addresses for one service", Relax: "modules: {dhcp: {addresses: 32}}"})
	ReasonOptionValue = newReason(ppf.ReasonInfo{Name: "dhcp.option.value", Field: "dhcp.option.value", RFC: "2132 §3",
		Doc: "a known option has a value that contradicts what it is for", Trips: "none known"})
	ReasonOptionMany = newReason(ppf.ReasonInfo{Name: "dhcp.option.too-many", Field: "dhcp.option.count", RFC: "2131 §4.1",
		Doc: "the message has more than 64 options", Trips: "none known"})
	ReasonOptionMissing = newReason(ppf.ReasonInfo{Name: "dhcp.option.missing", Field: "dhcp.option.code", RFC: "2131 §4.3.1",
		Doc: "a server's message does not say which server sends it", Trips: "none known"})
	ReasonName = newReason(ppf.ReasonInfo{Name: "dhcp.option.name", Field: "dhcp.option.value", RFC: "3397 §2",
		Doc: "a domain name in an option goes beyond it, is too long, or points to what is not before it", CVE: []string{"CVE-2020-7461"},
		Trips: "none known"})
	ReasonOption = newReason(ppf.ReasonInfo{Name: "dhcp.option-removed", Class: packet.Repaired, Field: "dhcp.option.code", RFC: "2132 §2",
		Doc:   "an option is left out: it is not known and not listed, is not for this message, or its text is none",
		CVE:   []string{"CVE-2021-31881", "CVE-2021-31883"},
		Trips: "options of vendors, and host names that are not ASCII", Relax: "modules: {dhcp: {options: [43, 125]}}"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("dhcp", info) }
