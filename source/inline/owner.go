package inline

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// procPackets lists the packet sockets of a namespace (net/packet/af_packet.c,
// packet_seq_show): address, references, type, protocol, interface, …
const procPackets = "/proc/thread-self/net/packet"

// InUse reports whether a process carries frames out of a port: whether a packet
// socket is bound to it that receives nothing, as ours that send and as no
// capture.
func InUse(port string) (bool, error) {
	link, err := net.InterfaceByName(port)
	if err != nil {
		return false, nil // what is not there nobody uses
	}
	table, err := os.ReadFile(procPackets)
	if err != nil {
		return false, fmt.Errorf("inline: list packet sockets: %w", err)
	}
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) > 4 && fields[3] == "0000" && fields[4] == strconv.Itoa(link.Index) {
			return true, nil
		}
	}
	return false, nil
}
