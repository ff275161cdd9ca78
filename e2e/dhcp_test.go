package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// leaseScript is what DHCP clients run with the values of a lease; it writes them to
// the file that the environment names.
const leaseScript = `#!/bin/sh
case "$1$reason" in
bound|BOUND)
	echo "$ip$new_ip_address,$router$new_routers,$dns$new_domain_name_servers,$domain$new_domain_name,$search$new_domain_search" >"$LEASE"
esac
`

// TestDHCP: two DHCP clients get what dnsmasq gives through a wire as protect makes
// it, once for each, and what arrives is in the form of ours.
func TestDHCP(t *testing.T) {
	for _, program := range []string{"dnsmasq", "busybox", "dhclient"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	l := up(t, lab.Options{Inline: true})
	p := startProtect(t, l, nil, l.Server.IPv4.String(), "--tcp", "1", "--now", "--inline", lab.ClientInterface+","+lab.ServerInterface)
	dir := t.TempDir()
	script := filepath.Join(dir, "lease")
	check(t, os.WriteFile(script, []byte(leaseScript), 0o700))
	server := l.Client.Command(t.Context(), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping", "--user=root", "--pid-file=",
		"--interface="+lab.EndInterface, "--bind-interfaces", "--dhcp-authoritative", "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--dhcp-range=10.77.0.100,10.77.0.110,1h",
		"--dhcp-option=option:router,10.77.0.2", "--dhcp-option=option:dns-server,10.77.0.2,10.77.0.9", "--domain=lab.example", "--dhcp-option=option:domain-search,lab.example,more.lab.example",
		"--dhcp-option-force=210,hidden")
	var log bytes.Buffer
	server.Stderr = &log
	check(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"busybox", []string{"udhcpc", "-i", lab.EndInterface, "-f", "-q", "-n", "-t", "20", "-T", "1", "-s", script, "-O", "search", "-x", "hostname:plc"}},
		{"dhclient", []string{"-1", "-d", "-cf", "/dev/null", "-sf", script, "-lf", filepath.Join(dir, "dhclient.leases"), "-pf", filepath.Join(dir, "dhclient.pid"), "-e", "LEASE=" + filepath.Join(dir, "dhclient.got"), lab.EndInterface}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := filepath.Join(dir, tt.name+".got")
			capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
			client := l.Server.Command(t.Context(), tt.name, tt.args...)
			client.Env = append(os.Environ(), "LEASE="+got)
			var said bytes.Buffer
			client.Stdout, client.Stderr = &said, &said
			check(t, client.Start())
			var lease []byte
			eventually(t, "the client has no address", func() (bool, string) {
				lease, _ = os.ReadFile(got)
				return bytes.HasSuffix(lease, []byte("\n")), string(lease)
			})
			_ = client.Process.Kill()
			_ = client.Wait()
			must(capture.Stop())(t)
			// dhclient asks for no search list, and writes its lists with blanks.
			text := strings.ReplaceAll(strings.TrimSpace(string(lease)), " ", ",")
			if !strings.HasPrefix(text, "10.77.0.1") || !strings.Contains(text, ",10.77.0.2,10.77.0.2,10.77.0.9,lab.example") {
				t.Errorf("got %q\n%s", text, said.String())
			}
			answers := 0
			for _, f := range capture.Frames() {
				if d, ok := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeDHCPv4).(*layers.DHCPv4); ok && !f.Outgoing {
					answers++
					canonicalDHCP(t, d)
				}
			}
			if answers < 2 {
				t.Errorf("%d answers arrived", answers)
			}
		})
	}
	p.accounted(t)
}

// canonicalDHCP wants the options that are known, by number behind the type.
func canonicalDHCP(t *testing.T, d *layers.DHCPv4) {
	t.Helper()
	last := layers.DHCPOpt(0)
	for i, o := range d.Options {
		switch {
		case o.Type == layers.DHCPOptPad, o.Type == layers.DHCPOptEnd:
		case i == 0 && o.Type == layers.DHCPOptMessageType:
		case o.Type <= last || o.Type == 210:
			t.Errorf("option %d behind %d: %v", o.Type, last, fmt.Sprint(d.Options))
		default:
			last = o.Type
		}
	}
}
