package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// ErrNoTshark reports that the second judge is not installed.
var ErrNoTshark = errors.New("tshark is not installed")

// tsharkProtocols are those that TsharkJudge decodes. Application protocols stay
// out: it would take random data on a well-known port for them.
const tsharkProtocols = "eth,ethertype,vlan,ieee8021ad,arp,ip,ipv6,ipv6.hopopts,ipv6.dstopts,ipv6.routing,ipv6.fraghdr,icmp,icmpv6,igmp,tcp,udp,data"

// tsharkFilter chooses what is wrong; status 0 is "bad". The last is a mere note
// for tshark.
const tsharkFilter = "_ws.malformed || _ws.expert.severity == error || ip.checksum.status == 0 || tcp.checksum.status == 0 || " +
	"udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || tcp.option.len.invalid"

// TsharkJudge judges a capture file with tshark, checksums switched on: packets
// that are malformed, have a wrong checksum or an expert finding of severity error.
// Where tshark is not installed the error wraps ErrNoTshark. It runs outside the
// lab's hosts.
func TsharkJudge(ctx context.Context, file string) ([]Finding, error) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w: %w", file, ErrNoTshark, err)
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-n", "-r", file,
		"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		// Segments out of order are no fault of a packet.
		"-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE",
		// Nor is it one that data looks like a protocol above.
		"-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data",
		"--disable-protocol", "ALL", "--enable-protocol", tsharkProtocols,
		"-Y", tsharkFilter, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=;",
		"-e", "frame.number", "-e", "_ws.expert.message", "-e", "_ws.col.Info")
	// Its preferences must not depend on who runs it.
	empty, err := os.MkdirTemp("", "promethos-tshark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(empty)
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+empty, "HOME="+empty)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("judge %s: tshark: %w: %s", file, err, strings.TrimSpace(complaint.String()))
	}
	var findings []Finding
	for line := range strings.Lines(string(out)) {
		number, detail, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			return findings, fmt.Errorf("judge %s: tshark: line %q: %w", file, line, err)
		}
		findings = append(findings, Finding{n, KindTshark, strings.ReplaceAll(detail, "\t", " | ")})
	}
	return findings, nil
}
