package packet_test

import (
	"encoding/hex"
	"fmt"

	"github.com/promethos/promethos/packet"
)

// A received segment is looked at through views, and a new one is built from
// typed values.
func Example() {
	received, _ := hex.DecodeString("450000280000400040060ea9c0000201c6336402" + "9c4000500000000100000000500200ff20e50042")
	var in packet.Packet
	if r := in.Parse(packet.LinkRawIP, received); r != packet.ReasonNone {
		fmt.Println("drop:", r)
		return
	}
	fmt.Println(&in)
	fmt.Println("urgent pointer", in.TCP().Urgent())

	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: in.IPv4().TTL() - 1, DF: true, Src: in.Src(), Dst: in.Dst()})
	out.SetTCP(packet.TCP{
		SrcPort: in.SrcPort(), DstPort: in.DstPort(), Seq: in.TCP().Seq(), Flags: in.TCP().Flags(), Window: in.TCP().Window(),
	})
	out.SetPayload(in.Payload())
	buf := make([]byte, packet.MaxHeaders)
	headers, err := out.Encode(buf)
	if err != nil {
		fmt.Println(err)
		return
	}
	in.Parse(packet.LinkRawIP, headers)
	fmt.Println("urgent pointer", in.TCP().Urgent(), "checksums", in.VerifyChecksums(true))
	// Output:
	// 192.0.2.1:40000 > 198.51.100.2:80 TCP SYN seq=1 ack=0 win=255 len=0
	// urgent pointer 66
	// urgent pointer 0 checksums none
}
