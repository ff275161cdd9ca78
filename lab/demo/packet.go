package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// Field is one header field of a packet as it came and as it went on.
type Field struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// segment is a TCP segment over IPv4 as gopacket reads it.
type segment struct {
	ip  *layers.IPv4
	tcp *layers.TCP
}

func dissect(frame []byte) (s segment, ok bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	s.ip, _ = p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	s.tcp, _ = p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return s, s.ip != nil && s.tcp != nil
}

// compare shows the client's first segment with data as the client sent it and
// as the server got it, and checks what must hold: the identification is 0
// (thesis A.2.2), and the data is the same.
func (d *show) compare(before, after []lab.Frame) error {
	var a, b segment
	for _, f := range before {
		if s, ok := dissect(f.Data); ok && f.Outgoing && len(s.tcp.Payload) > 0 {
			a = s
			break
		}
	}
	if a.tcp == nil {
		return errors.New("demo: no segment with data was captured at the client")
	}
	for _, f := range after {
		if s, ok := dissect(f.Data); ok && !f.Outgoing && s.tcp.SrcPort == a.tcp.SrcPort && len(s.tcp.Payload) > 0 { // its number is translated
			b = s
			break
		}
	}
	if b.tcp == nil {
		return errors.New("demo: the client's first segment with data did not reach the server")
	}
	d.result.Before = fields(a, b)
	fmt.Fprintln(d.w, "3. One packet before and after; every header was built anew:")
	fmt.Fprintln(d.w)
	t := tabwriter.NewWriter(d.w, 3, 0, 2, ' ', 0)
	fmt.Fprintln(t, "   FIELD\tAS THE CLIENT SENT IT\tAS THE SERVER GOT IT\t")
	for _, f := range d.result.Before {
		mark := ""
		if f.Before != f.After {
			mark = "changed"
		}
		fmt.Fprintf(t, "   %s\t%s\t%s\t%s\n", f.Name, f.Before, f.After, mark)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(d.w)
	if b.ip.Id != 0 || b.ip.Flags&layers.IPv4DontFragment == 0 {
		d.problem("packet: identification %#04x, flags %v; want 0 with DF", b.ip.Id, b.ip.Flags)
	}
	if string(a.tcp.Payload) != string(b.tcp.Payload) {
		d.problem("packet: the data has changed")
	}
	return nil
}

func fields(a, b segment) []Field {
	row := func(name string, get func(segment) any) Field {
		return Field{name, fmt.Sprint(get(a)), fmt.Sprint(get(b))}
	}
	return []Field{
		row("ip.tos", func(s segment) any { return s.ip.TOS }),
		row("ip.total-length", func(s segment) any { return s.ip.Length }),
		row("ip.id", func(s segment) any { return fmt.Sprintf("0x%04x", s.ip.Id) }),
		row("ip.flags", func(s segment) any { return s.ip.Flags }),
		row("ip.ttl", func(s segment) any { return s.ip.TTL }),
		row("ip.checksum", func(s segment) any { return fmt.Sprintf("0x%04x", s.ip.Checksum) }),
		row("ip.src", func(s segment) any { return s.ip.SrcIP }),
		row("ip.dst", func(s segment) any { return s.ip.DstIP }),
		row("tcp.src-port", func(s segment) any { return uint16(s.tcp.SrcPort) }),
		row("tcp.dst-port", func(s segment) any { return uint16(s.tcp.DstPort) }),
		row("tcp.seq", func(s segment) any { return s.tcp.Seq }),
		row("tcp.ack", func(s segment) any { return s.tcp.Ack }),
		row("tcp.data-offset", func(s segment) any { return s.tcp.DataOffset }),
		row("tcp.window", func(s segment) any { return s.tcp.Window }),
		row("tcp.checksum", func(s segment) any { return fmt.Sprintf("0x%04x", s.tcp.Checksum) }),
		row("tcp.options", func(s segment) any { return options(s.tcp.Options) }),
		row("data", func(s segment) any { return fmt.Sprintf("%d bytes", len(s.tcp.Payload)) }),
	}
}

// options names the kinds of options, with timestamps in full.
func options(list []layers.TCPOption) string {
	var names []string
	for _, o := range list {
		name := o.OptionType.String()
		if o.OptionType == layers.TCPOptionKindTimestamps && len(o.OptionData) == 8 {
			name = fmt.Sprintf("%s %d/%d", name, binary.BigEndian.Uint32(o.OptionData), binary.BigEndian.Uint32(o.OptionData[4:]))
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
