package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
)

// triggers lists all triggers. Several vulnerabilities share one.
func triggers() []trigger {
	return slices.Concat(tunnelTriggers(), ip4Triggers(), ip6Triggers(), ip6FragmentTriggers(), icmpTriggers(), tcpTriggers(), urgentTriggers(), udpTriggers())
}

func tunnelTriggers() []trigger {
	isTunnel := isProtocol(protoIPIP)
	return []trigger{
		{name: "ipip", fault: isTunnel, twin: synTwin, packets: one(func(e triggerEnv) []byte {
			return e.ip(protoIPIP, e.tunnelled(0, 0, 0)).bytes()
		})},
		{name: "ipip-fragments-length", fault: isTunnel, twin: synTwin, packets: func(e triggerEnv) [][]byte {
			return e.fragments4(protoIPIP, e.tunnelled(32, 0, 1000), 512) // the inner packet says 32 bytes
		}},
		{name: "ipip-fragments-ihl", fault: isTunnel, twin: synTwin, packets: func(e triggerEnv) [][]byte {
			return e.fragments4(protoIPIP, e.tunnelled(0, 15, 0), 24)
		}},
	}
}

func ip4Triggers() []trigger {
	withOptions := func(options []byte, proto func(e triggerEnv) (byte, []byte)) func(triggerEnv) [][]byte {
		return one(func(e triggerEnv) []byte {
			number, payload := proto(e)
			p := e.ip(number, payload)
			p.options = options
			return p.bytes()
		})
	}
	syn := func(e triggerEnv) (byte, []byte) { return protoTCP, e.syn() }
	echo := func(e triggerEnv) (byte, []byte) { return protoICMP, e.echo() }
	return []trigger{
		// Loose source route, of which no address is left to visit.
		{name: "source-route", twin: synTwin, packets: withOptions([]byte{131, 7, 8, 10, 77, 2, 2, 0}, syn)},
		{name: "ip-options", twin: synTwin, packets: withOptions([]byte{0x9e, 12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, syn)},
		{name: "echo-options", twin: echoTwin, packets: withOptions([]byte{0x9e, 4, 0xab, 0xcd}, echo)},
		{name: "tcp-fragments", twin: synTwin, packets: func(e triggerEnv) [][]byte { return e.fragments4(protoTCP, e.syn(), 8) }},
		{name: "fragment-beyond-buffer", twin: synTwin, packets: one(func(e triggerEnv) []byte {
			p := hostileIP{src: e.src, dst: e.dst, proto: protoTCP, id: fragmentID, fragment: 65528 / 8, payload: bytes.Repeat([]byte{0xa5}, 64)}
			return p.bytes()
		})},
		// The second part lies within the first.
		{name: "fragment-overlap", twin: udpTwin, packets: func(e triggerEnv) [][]byte {
			first := e.ip(protoUDP, e.datagram(hostileUDP{payload: make([]byte, 28)}))
			first.fragment, first.id = ip4MF, fragmentID
			second := e.ip(protoUDP, make([]byte, 4))
			second.fragment, second.id = 24/8, fragmentID
			return [][]byte{first.bytes(), second.bytes()}
		}},
		// Parts of packets that never become whole.
		{name: "fragment-flood", twin: udpTwin, packets: func(e triggerEnv) (list [][]byte) {
			const parts = 256
			for i := range parts {
				p := e.ip(protoUDP, make([]byte, 8))
				p.fragment, p.id = ip4MF|uint16(2*i+2), fragmentID
				list = append(list, p.bytes())
			}
			return list
		}},
		{name: "land", twin: synTwin, packets: one(func(e triggerEnv) []byte {
			e.src, e.from = e.dst, e.to
			return e.ip(protoTCP, e.syn()).bytes()
		}), fault: func(p gopacket.Packet) bool {
			ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			return ok && ip.SrcIP.Equal(ip.DstIP)
		}},
		{name: "igmp", fault: isProtocol(protoIGMP), twin: synTwin, packets: one(func(e triggerEnv) []byte {
			return e.ip(protoIGMP, e.igmp(127, 0, 0, 1)).bytes() // a group that is none
		})},
		{name: "igmp-fragments", fault: isProtocol(protoIGMP), twin: synTwin, packets: func(e triggerEnv) [][]byte {
			return e.fragments4(protoIGMP, e.igmp(224, 0, 0, 1), 8)
		}},
	}
}

// igmp is a version 3 query for a group, with one source.
func (e triggerEnv) igmp(group ...byte) []byte {
	b := slices.Concat([]byte{0x11, 100, 0, 0}, group, []byte{2, 125, 0, 1, 192, 0, 2, 1})
	binary.BigEndian.PutUint16(b[2:], packet.SumBytes(b).Checksum())
	return b
}

// padded is an IPv6 options header of 8 bytes that is filled up.
func padded(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

func ip6Triggers() []trigger {
	attack := func(name string, first byte, headers []byte) trigger {
		return trigger{name: name, v6: true, twin: synTwin, packets: one(func(e triggerEnv) []byte { return e.extended(first, headers) })}
	}
	// Routers walk the hop-by-hop header, so it is a good one: an option to skip
	// whose length 0xfe and the two bytes before it make 256.
	hop := slices.Concat([]byte{protoTCP, 32, 0x1e, 0xfe}, make([]byte, 254), []byte{1, 4, 0, 0, 0, 0})
	return []trigger{
		attack("rh0", protoRouting, slices.Concat([]byte{protoTCP, 2, 0, 1, 0, 0, 0, 0}, netip.MustParseAddr("2001:db8::9").AsSlice())),
		attack("rpl", protoRouting, []byte{protoTCP, 0, 3, 9, 0xff, 0xf0, 0, 0}),
		attack("hop-by-hop-254", protoHop, hop),
		attack("destination-header-length", protoDstOpts, []byte{protoTCP, 255, 1, 4, 0, 0, 0, 0}),
		attack("destination-option-length", protoDstOpts, []byte{protoTCP, 0, 1, 200, 0, 0, 0, 0}),
		{name: "echo6-header-length", v6: true, twin: echoTwin, packets: one(func(e triggerEnv) []byte {
			p := e.ip(protoICMPv6, e.echo())
			p.first, p.options = protoDstOpts, []byte{protoICMPv6, 200, 1, 4, 0, 0, 0, 0}
			return p.bytes()
		})},
	}
}

// part6 is a fragment of an IPv6 packet whose fragmentable part is of a protocol.
func (e triggerEnv) part6(next byte, offset int, more bool, data []byte) []byte {
	return hostileIP{src: e.src, dst: e.dst, first: protoFragment, options: fragmentHeader(next, uint16(offset), more, fragmentID), payload: data}.bytes()
}

func ip6FragmentTriggers() []trigger {
	return []trigger{
		// The first part is no multiple of 8 bytes long.
		{name: "fragment6-misaligned", v6: true, twin: synTwin, packets: func(e triggerEnv) [][]byte {
			b := e.syn()
			return [][]byte{e.part6(protoTCP, 0, true, b[:13]), e.part6(protoTCP, 16, false, b[13:])}
		}},
		// A destination option that demands an error (0x81), then two fragments.
		{name: "error-option-fragments6", v6: true, twin: synTwin, packets: func(e triggerEnv) [][]byte {
			return [][]byte{
				e.extended(protoDstOpts, []byte{protoTCP, 0, 0x81, 4, 0, 0, 0, 0}),
				e.part6(protoDstOpts, 0, true, padded(protoTCP)), e.part6(protoDstOpts, 8, false, e.syn()),
			}
		}},
		// 66 fragments with a long chain of destination options, and a fragment
		// header at its end.
		{name: "nested-fragments6", v6: true, twin: synTwin, packets: func(e triggerEnv) (list [][]byte) {
			const parts, size = 66, 992
			chain := bytes.Repeat(padded(protoDstOpts), parts*size/8-1)
			chain = append(chain, fragmentHeader(protoTCP, 0, true, fragmentID+1)...)
			chain[len(chain)-16] = protoFragment
			for i := range parts {
				list = append(list, e.part6(protoDstOpts, i*size, i < parts-1, chain[i*size:(i+1)*size]))
			}
			return append(list, hostileIP{src: e.src, dst: e.dst, first: protoFragment,
				options: fragmentHeader(protoTCP, 8, false, fragmentID+1), payload: e.syn()}.bytes())
		}},
	}
}

func icmpTriggers() []trigger {
	message := func(icmpType, code byte, body func(e triggerEnv) []byte) func(triggerEnv) [][]byte {
		return one(func(e triggerEnv) []byte {
			b := append([]byte{icmpType, code, 0, 0}, body(e)...)
			return e.ip(protoICMP, e.icmpSum(b)).bytes()
		})
	}
	// foreign quotes a packet that the server never sent.
	foreign := func(e triggerEnv) []byte {
		return hostileIP{src: e.dst, dst: e.src, proto: protoTCP, payload: []byte{0, 7, 0, 9, 1, 2, 3, 4}}.bytes()
	}
	// blind quotes a segment of an open connection with a number that is guessed.
	blind := func(e triggerEnv) []byte {
		b := slices.Clone(e.quoted)
		binary.BigEndian.PutUint32(b[ipv4Len+4:], binary.BigEndian.Uint32(b[ipv4Len+4:])+0x1234567)
		return b
	}
	portClosed := func(quote func(e triggerEnv) []byte) func(triggerEnv) [][]byte {
		return message(icmpUnreach, icmpPort, func(e triggerEnv) []byte { return append(make([]byte, 4), quote(e)...) })
	}
	tooBig := func(mtu uint16, quote func(e triggerEnv) []byte) func(triggerEnv) [][]byte {
		return message(icmpUnreach, icmpMTU, func(e triggerEnv) []byte {
			return append(binary.BigEndian.AppendUint16([]byte{0, 0}, mtu), quote(e)...)
		})
	}
	quoted := func(e triggerEnv) []byte { return e.quoted }
	return []trigger{
		{name: "icmp-blind-reset", fault: isICMP(icmpUnreach), open: true, twinOpen: true, answered: true, packets: portClosed(blind), twin: portClosed(quoted)},
		{name: "icmp-blind-mtu", fault: isICMP(icmpUnreach), open: true, twinOpen: true, answered: true, packets: tooBig(68, blind), twin: tooBig(ip6MinMTU, quoted)},
		// An IPv6 packet in an IPv4 packet, and a parameter problem that quotes one.
		{name: "6in4", twin: echoTwin, packets: func(e triggerEnv) [][]byte {
			tunnel := hostileIP{src: e.src, dst: e.dst, proto: proto6in4, payload: hostileIP{src: senders6.Addr(), dst: senders6.Addr(), proto: protoUDP}.bytes()}
			quoted := hostileIP{src: e.dst, dst: e.src, proto: proto6in4, payload: make([]byte, ipv6Len)}
			message := slices.Concat([]byte{icmpParam, 0, 0, 0, ipv4Len, 0, 0, 0}, quoted.bytes())
			return [][]byte{tunnel.bytes(), e.ip(protoICMP, e.icmpSum(message)).bytes()}
		}, fault: func(p gopacket.Packet) bool { return isProtocol(proto6in4)(p) || isICMP(icmpParam)(p) }},
		{name: "icmp-mtu", fault: isICMP(icmpUnreach), twinOpen: true, answered: true, packets: tooBig(0, foreign), twin: tooBig(ip6MinMTU, quoted)},
		{name: "icmp-mask", fault: isICMP(icmpMask), twin: echoTwin, packets: message(icmpMask, 0, func(e triggerEnv) []byte {
			return append(binary.BigEndian.AppendUint16(nil, e.from), 0, 1, 255, 0, 0, 0)
		})},
		{name: "icmp-short", fault: shortMessage, twin: echoTwin, packets: message(icmpEchoRequest4, 0, func(triggerEnv) []byte { return nil })},
		{name: "icmp6-short", v6: true, fault: shortMessage, twin: echoTwin, packets: one(func(e triggerEnv) []byte {
			return e.ip(protoICMPv6, e.icmpSum([]byte{icmpEchoRequest6, 0, 0, 0, 0, 7})).bytes()
		})},
		// A router advertisement whose DNS option has an even length.
		{name: "router-advertisement", v6: true, fault: anything, twin: echoTwin, packets: one(func(e triggerEnv) []byte {
			body := slices.Concat([]byte{icmp6RA, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 25, 4, 0, 0, 0, 0, 3, 0}, make([]byte, 24))
			b := e.ip(protoICMPv6, e.icmpSum(body)).bytes()
			b[7] = 255
			return b
		})},
	}
}

func tcpTriggers() []trigger {
	return []trigger{
		{name: "option-length-0", packets: synWith("\xff\x00\x00\x00"), twin: synTwin},
		// The cursor goes to 1, then by 255 to 256, which is 0 in a byte.
		{name: "options-sum-256", packets: synWith("\x01\xfe\xff\x00"), twin: synWith("\x01" + windowScale7[:3])},
		{name: "data-offset-15", twin: synTwin, packets: one(func(e triggerEnv) []byte { return e.tcp(hostileTCP{flags: flagSYN, offset: 15}) })},
		{name: "tcp-header-short", twin: synTwin, packets: one(func(e triggerEnv) []byte { return e.ip(protoTCP, e.syn()[:12]).bytes() })},
		{name: "wscale-length-2", open: true, twin: synWith(windowScale7), packets: one(func(e triggerEnv) []byte {
			return e.tcp(hostileTCP{flags: flagSYN, seq: e.seq + 0x1234567, options: []byte{3, 2, 1, 1}})
		})},
		{name: "ao-length-1", twin: synTwin, packets: func(e triggerEnv) [][]byte {
			syn := hostileTCP{flags: flagSYN, options: []byte{29, 1, 0, 0}}
			return [][]byte{e.tcp(syn), e.tcp(hostileTCP{flags: flagFIN | flagSYN | flagURG, urgent: 10}), e.tcp(syn)}
		}},
		{name: "sack-corrupted", open: true, twinOpen: true, twin: dataTwin, packets: func(e triggerEnv) [][]byte {
			segment := func(options ...byte) []byte { return e.tcp(hostileTCP{flags: flagACK, options: options}) }
			return [][]byte{segment(5, 9, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1), segment(5, 30, 1, 2), segment(8, 3, 0, 1)}
		}},
		// A RST within the window that has not the number that comes next.
		{name: "reset-in-window", open: true, twinOpen: true, packets: one(func(e triggerEnv) []byte {
			return e.tcp(hostileTCP{flags: flagRST, seq: e.seq + 1000})
		}), twin: one(func(e triggerEnv) []byte { return e.tcp(hostileTCP{flags: flagRST}) }), fault: func(p gopacket.Packet) bool {
			t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return ok && t.RST
		}},
		{name: "mss-48", fault: lowMSS, packets: synWith("\x02\x04\x00\x30"), twin: synWith("\x02\x04\x02\x18")},
	}
}

func urgentTriggers() []trigger {
	urgent := func(name string, pointer uint16) trigger {
		return trigger{name: name, open: true, twinOpen: true, twin: dataTwin, packets: one(func(e triggerEnv) []byte {
			return e.tcp(hostileTCP{flags: flagPSH | flagACK | flagURG, urgent: pointer, payload: []byte(triggerData)})
		})}
	}
	return []trigger{urgent("urgent-0", 0), urgent("urgent-beyond", 0xfff0)}
}

func udpTriggers() []trigger {
	return []trigger{
		{name: "udp-length", twin: udpTwin, packets: one(func(e triggerEnv) []byte { return e.udp(hostileUDP{lengthError: 400}) })},
	}
}
