// Package lab builds a client, a proxy and a server on one machine, each in a
// network namespace of its own, joined by veth pairs; and the tools to judge
// what the proxy does there: traffic makers, raw frames, captures, malformed
// packets, firewalls for the proxy host, and a judge of captures that uses
// decoders which are not ours (DESIGN.md section 9).
//
// The lab runs no external program. It needs CAP_SYS_ADMIN, CAP_NET_ADMIN and
// CAP_NET_RAW over its namespaces; an ordinary user gets them inside a user
// namespace, which EnterUserNamespace enters by starting the program again.
//
//	client eth0 ── client0 proxy server0 ── eth0 server
//
// The routed layout has a subnet on each side and the proxy host forwards:
// client 10.77.1.2 and fd77:1::2, server 10.77.2.2 and fd77:2::2, proxy .1 and
// ::1 on both. The inline layout has one subnet, client 10.77.0.2 and fd77::2,
// server 10.77.0.3 and fd77::3, and two interfaces on the proxy host that have
// no address and are not bridged: nothing passes unless a program carries it.
package lab
