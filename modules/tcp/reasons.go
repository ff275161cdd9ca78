package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in segments and their order.
var (
	ReasonFlagsNull   = refused("tcp.flags.null", "tcp.flags", "9293 §3.1", "no flag is set (a NULL scan)", "none known", "")
	ReasonFlagsXmas   = refused("tcp.flags.xmas", "tcp.flags", "9293 §3.1", "FIN, PSH and URG without ACK (an XMAS scan)", "none known", "")
	ReasonFlagsSynFin = refused("tcp.flags.syn-fin", "tcp.flags", "9293 §3.10.7.2", "SYN and FIN together", "none known", "")
	ReasonFlagsSynRst = refused("tcp.flags.syn-rst", "tcp.flags", "9293 §3.10.7.2", "SYN and RST together", "none known", "")
	ReasonFlagsFinRst = refused("tcp.flags.fin-rst", "tcp.flags", "9293 §3.5.3", "FIN and RST together", "none known", "")
	ReasonFlagsNoAck  = refused("tcp.flags.no-ack", "tcp.flags", "9293 §3.10.7.4", "neither SYN nor RST, and ACK is missing", "none known", "")

	ReasonMidstream = refused("tcp.midstream", "tcp.flags", "9293 §3.10.7.1",
		"a segment of a connection whose start was not seen",
		"connections older than the proxy, after the grace period", "modules: {tcp: {midstream: adopt}}")
	ReasonState = refused("tcp.state", "tcp.flags", "9293 §3.3.2",
		"the segment does not fit the state of its connection", "none known", "")
	ReasonSequence = refused("tcp.sequence", "tcp.seq", "9293 §3.4",
		"the segment lies outside the window that its receiver announced",
		"connections whose segments also go past the proxy", "reasons: {tcp.sequence: monitor}")
	ReasonAck = refused("tcp.ack", "tcp.ack", "5961 §5.2",
		"the segment acknowledges what was never sent, or what is long acknowledged",
		"connections whose segments also go past the proxy", "reasons: {tcp.ack: monitor}")
	ReasonReset = refused("tcp.reset", "tcp.seq", "5961 §3.2",
		"the RST has not the number that its receiver waits for; one within the window is answered with a challenge ACK",
		"a RST after segments that were lost before us: its sender repeats it after the challenge", "reasons: {tcp.reset: monitor}",
		"CVE-2004-0230")
	ReasonQuoted = refused("icmp.sequence", "icmp.quoted-seq", "5927 §4.1",
		"the ICMP error quotes a segment that is not on its way: it is acknowledged, or was never sent",
		"errors that come after the segment was sent again and acknowledged", "reasons: {icmp.sequence: monitor}",
		"CVE-2004-0790", "CVE-2004-1060")
	ReasonCookie = refused("tcp.cookie", "tcp.ack", "4987 §3.6",
		"SYNs are answered with cookies, and a segment of no known connection brings none back that is still good",
		"handshakes that take longer than a minute, and connections older than the proxy", "modules: {tcp: {cookie_from: N}}")
	ReasonCookieEarly = refused("tcp.cookie-early", "tcp.seq", "9293 §3.8.6",
		"data or an end of a client that was told a window of 0, before its server has answered; it comes again",
		"clients that do not heed the window", "modules: {tcp: {cookie_from: N}}")
	ReasonCookieChanged = refused("tcp.cookie-changed", "tcp.option.kind", "4987 §3.6",
		"the server's SYN-ACK is not as its last ones were, and its client was told otherwise: both get a RST, and the next connection is told right",
		"a server that was exchanged during a flood", "modules: {tcp: {cookie_from: N}}")
	ReasonInitiate = refused("tcp.initiate", "tcp.flags", "",
		"this side opens a connection, and the instance lets only the other do so",
		"servers that connect to their clients, such as active FTP", "initiate: both")
	ReasonAuthOption = refused("tcp.option.authentication", "tcp.option.kind", "5925 §2.2",
		"the segment is signed (MD5 or TCP-AO), and a rebuilt one cannot be",
		"BGP and LDP sessions with passwords", "modules: {tcp: {signed: carry}}, or match: {not: …} for these peers", "CVE-2019-12260")
	ReasonSignedChanged = refused("tcp.signed-changed", "tcp.option.kind", "2385 §2.0",
		"the signed segment has something that is never sent on, and without it its signature would be wrong",
		"signed segments with urgent data or, with TCP-AO, options in another order than Linux writes", "match: {not: …} for these peers")
	ReasonUnsigned = refused("tcp.unsigned", "tcp.option.kind", "5925 §7.4",
		"the segment belongs to a connection whose segments are signed, and is not",
		"none known", "")

	ReasonMSS = refused("tcp.mss", "tcp.option.mss", "9293 §3.7.1",
		"the client announces an MSS below the floor, and would have the server cut its data into tiny segments",
		"clients behind links with tiny frames", "modules: {tcp: {mss_min: 0}}",
		"CVE-2019-11477", "CVE-2019-11478", "CVE-2019-11479")
	ReasonLimitClient = refused("tcp.limit.client", "ip.source", "",
		"the client has as many connections as it may have",
		"many clients behind one address", "modules: {tcp: {client_connections: 0}}")
	ReasonLimitHalfOpen = refused("tcp.limit.half-open", "tcp.flags", "4987 §3.4",
		"the instance has as many half-open connections as it may have",
		"bursts of new connections", "modules: {tcp: {half_open_connections: 0}}")
	ReasonRetransmit = refused("tcp.retransmit", "tcp.seq", "9293 §3.4",
		"data that comes again differs from what was sent first, and the instance wants none such",
		"none known", "modules: {tcp: {retransmit: first-wins}}")
	ReasonRetransmitMemory = refused("tcp.limit.retransmit", "tcp.payload", "",
		"the memory for unacknowledged data is used up; new data counts as lost, and its sender slows down",
		"very long and fast paths, and very many connections that are busy at a time", "modules: {tcp: {retransmit_memory: N, retransmit_connection_memory: N}}")
	ReasonFin = refused("tcp.fin", "tcp.seq", "9293 §3.10.7.4",
		"data behind the end of the stream, or an end at another place than before or before data that was sent",
		"none known", "modules: {tcp: {retransmit: trust}}")
	ReasonUrgentRefused = refused("tcp.urgent", "tcp.urgent", "6093 §5",
		"the segment has urgent data and the instance wants none",
		"telnet and rlogin interrupts", "modules: {tcp: {urgent: inline}}",
		"CVE-2019-12255", "CVE-2019-12261", "CVE-2019-12263", "CVE-2020-17437", "CVE-2021-31400")

	ReasonReserved = repaired("tcp.reserved-cleared", "tcp.reserved", "9293 §3.1", "reserved bits are cleared", "none known", "")
	ReasonClient   = refused("tcp.client", "ip.source", "9293 §3.10.7.2",
		"a connection of a client that is not in clients, or is in refuse_clients",
		"clients that the lists do not know yet", `modules: {tcp: {clients: [NETWORK, "@NAME"]}}`)
	ReasonNoData = refused("tcp.no-data", "ip.source", "9293 §3.10.7.2",
		"a data module that says who may open connections is not loaded any more",
		"every client, after `promethos module unload` of that data module", "promethos module load")
	ReasonUrgent = repaired("tcp.urgent-removed", "tcp.urgent", "6093 §3",
		"URG and the urgent pointer are never sent; the data stays in line",
		"telnet and rlogin interrupts", "reasons: {tcp.urgent-removed: monitor}",
		"CVE-2019-12255", "CVE-2019-12261", "CVE-2019-12263", "CVE-2020-17437", "CVE-2021-31400")
	ReasonSynData = repaired("tcp.syn-data-removed", "tcp.payload", "9293 §3.4",
		"data on a SYN is removed; the client sends it again", "clients with TCP Fast Open", "modules: {tcp: {options: [fast-open]}}")
	ReasonRstData   = repaired("tcp.rst-data-removed", "tcp.payload", "9293 §3.5.3", "data on a RST is removed", "none known", "")
	ReasonRewritten = repaired("tcp.retransmit-rewritten", "tcp.seq", "9293 §3.4",
		"data that comes again and differs from what was sent first is sent as it was first", "none known",
		"modules: {tcp: {retransmit: trust}}")
	ReasonSynOnly = repaired("tcp.option.syn-only-removed", "tcp.option.kind", "9293 §3.2",
		"an option that belongs on a SYN is removed elsewhere", "none known", "")
	ReasonUnknownOption = repaired("tcp.option.unknown-removed", "tcp.option.kind", "9293 §3.2",
		"an option that is not understood, or not listed, is removed", "experimental options and user timeouts", "modules: {tcp: {options: [user-timeout]}}, or reasons: {tcp.option.unknown-removed: monitor}")

	ReasonNotAgreed = repaired("tcp.option.not-agreed", "tcp.option.kind", "7323 §3.2",
		"SACK blocks or timestamps that not both SYNs offered are removed", "none known", "")
	ReasonStampAdded = repaired("tcp.option.timestamp-added", "tcp.option.timestamps", "7323 §3.2",
		"a keep-alive without the timestamp that was agreed on gets the sender's last one", "hosts that leave it out of keep-alives",
		"reasons: {tcp.option.timestamp-added: monitor}")
	ReasonECN = repaired("tcp.ecn-cleared", "tcp.flags", "3168 §6.1.1",
		"ECE and CWR are cleared where not both SYNs offered ECN", "none known", "")
	ReasonSACK = refused("tcp.option.sack", "tcp.option.sack", "2018 §3",
		"a SACK block is empty, or is about what was never sent",
		"connections whose segments also go past the proxy", "reasons: {tcp.option.sack: monitor}")
	ReasonPAWS = refused("tcp.option.timestamp-old", "tcp.option.timestamps", "7323 §5.3",
		"the timestamp is older than the last one in order",
		"segments that were overtaken, which their receiver drops, too", "reasons: {tcp.option.timestamp-old: monitor}")
	ReasonEcho = refused("tcp.option.timestamp-echo", "tcp.option.timestamps", "7323 §3.2",
		"the timestamp echoes one that was never sent",
		"connections whose segments also go past the proxy", "reasons: {tcp.option.timestamp-echo: monitor}")
)

func refused(name, field, rfc, doc, trips, relax string, cve ...string) ppf.Reason {
	return packet.NewReason("tcp", ppf.ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax, CVE: cve})
}

func repaired(name, field, rfc, doc, trips, relax string, cve ...string) ppf.Reason {
	return packet.NewReason("tcp", ppf.ReasonInfo{Name: name, Class: packet.Repaired, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax, CVE: cve})
}
