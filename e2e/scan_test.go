package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
)

// closedPort is a port of a host where nobody listens: for scans, which get an
// answer from there if they arrive, and for programs that cannot be asked which
// port they got.
func closedPort(t *testing.T, h *lab.Host) uint16 {
	t.Helper()
	listener := must(h.Listen(t.Context(), "tcp", "[::]:0"))(t)
	check(t, listener.Close())
	return port(t, listener.Addr().String())
}

// TestNmap runs the scans of nmap that send what no TCP sends: without the proxy
// the server answers them, with it the scanner learns nothing: what belongs to no
// connection the proxy answers itself, whether the port is open or not.
func TestNmap(t *testing.T) {
	need(t, "nmap")
	l := up(t, lab.Options{NoOffloads: true})
	p := closedPort(t, l.Server)
	const silent = "open|filtered" // no answer
	scan := func(kind string, f family, want string) string {
		// An answer that should come has as long as nmap ever waits for one.
		patient := "60s"
		if want == silent {
			patient = "100ms"
		}
		args := []string{kind, "-n", "-Pn", "--max-retries", "1", "--initial-rtt-timeout", patient, "--max-rtt-timeout", patient, "-p", strconv.Itoa(int(p))}
		if f.network == "tcp6" {
			args = append(args, "-6")
		}
		r := execute(t, l.Client, "nmap", append(args, l.Server.Addr(f.network).String())...)
		state := regexp.MustCompile(fmt.Sprintf(`(?m)^%d/tcp\s+(\S+)`, p)).FindStringSubmatch(r.out)
		if r.status != 0 || state == nil {
			t.Fatalf("nmap %s: status %d: %s%s", kind, r.status, r.out, r.errors)
		}
		return state[1]
	}
	kinds := []string{"-sN", "-sX", "-sF", "-sM", "-sA"} // null, xmas, FIN, Maimon, ACK
	for _, kind := range kinds {
		if state := scan(kind, families[0], "an answer"); state != "closed" && state != "unfiltered" {
			t.Errorf("nmap %s without the proxy: %s, want an answer of the server", kind, state)
		}
	}
	d := withServer(t, l, "forward", p, notAdopting)
	for _, f := range families {
		for _, kind := range kinds {
			want := silent
			switch kind {
			case "-sM":
				want = "closed"
			case "-sA":
				want = "unfiltered"
			}
			if state := scan(kind, f, want); state != want {
				t.Errorf("%s: nmap %s: %s, want %s", f.name, kind, state, want)
			}
		}
		// An honest SYN gets the server's own answer.
		if state := scan("-sS", f, "closed"); state != "closed" {
			t.Errorf("%s: nmap -sS: %s, want closed", f.name, state)
		}
	}
	for _, reason := range []string{"tcp.flags.null", "tcp.flags.xmas", "tcp.flags.no-ack", "tcp.midstream"} {
		if d.counted(t, reason) == 0 {
			t.Errorf("%s is not counted: %+v", reason, d.reasons(t))
		}
	}
	d.accounted(t)
}

// TestHping3 sends flag combinations and fragments with a tool that is not ours.
func TestHping3(t *testing.T) {
	need(t, "hping3")
	l := up(t, lab.Options{NoOffloads: true})
	p := closedPort(t, l.Server)
	const probes = 3
	answers := func(flags ...string) int {
		t.Helper()
		args := append([]string{"--numeric", "--count", strconv.Itoa(probes), "--fast", "--destport", strconv.Itoa(int(p))}, flags...)
		r := execute(t, l.Client, "hping3", append(args, l.Server.IPv4.String())...)
		found := regexp.MustCompile(`(\d+) packets received`).FindStringSubmatch(r.out + r.errors)
		if found == nil {
			t.Fatalf("hping3 %v: status %d: %s%s", flags, r.status, r.out, r.errors)
		}
		return must(strconv.Atoi(found[1]))(t)
	}
	// answered wants an answer for each probe; hping3 waits a second for the last one,
	// which may be too short on a busy machine.
	answered := func(by string, flags ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("hping3 %v: %d answers, %s", flags, probes, by), func() (bool, string) {
			n := answers(flags...)
			return n == probes, fmt.Sprintf("%d answers", n)
		})
	}
	hostile := [][]string{{"--fin", "--push", "--urg"}, {"--ack"}, {"--fin"}, {"--syn", "--frag", "--data", "64"}, {}}
	for _, flags := range hostile {
		answered("the server's", flags...)
	}
	d := withServer(t, l, "forward", p, notAdopting)
	for _, flags := range hostile {
		if slices.Equal(flags, []string{"--ack"}) {
			answered("the proxy's own", flags...)
		} else if n := answers(flags...); n != 0 {
			t.Errorf("hping3 %v: %d answers, want none", flags, n)
		}
	}
	answered("the server's", "--syn")
	d.accounted(t)
}

// TestScansProof runs every kind of nmap's scans, operating system detection and
// fragments among them, on a server of which everything is protected: nothing that
// arrives breaks P1 to P3, and the proxy is none the worse.
func TestScansProof(t *testing.T) {
	need(t, "nmap")
	l := up(t, lab.Options{NoOffloads: true})
	open := port(t, web(t, l.Server).Addr)
	d := start(t, l, fmt.Sprintf("version: 1\ninstances:\n  - name: all\n    match: {server: [%s, %q]}\n    others: refuse\n    chain: [tcp]\n", l.Server.IPv4, l.Server.IPv6))
	before := must(proof.TakeVitals(t.Context(), d.Proxy))(t)
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	ports := fmt.Sprintf("%d,%d", open, closedPort(t, l.Server))
	for _, kind := range [][]string{{"-sS"}, {"-sN"}, {"-sF"}, {"-sX"}, {"-sA"}, {"-sM"}, {"-sS", "-f"}, {"-O", "--max-os-tries", "1"}} {
		args := append(kind, "-n", "-Pn", "--max-retries", "1", "--initial-rtt-timeout", "100ms", "--max-rtt-timeout", "200ms", "-p", ports, l.Server.IPv4.String())
		if r := execute(t, l.Client, "nmap", args...); r.status != 0 {
			t.Errorf("nmap %v: %v", kind, r)
		}
	}
	must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", open)).DataURL(1_000_000, 9)))(t)
	must(capture.Wait(within(t, patience), proof.Ends))(t)
	must(capture.Stop())(t)
	for _, v := range must(proof.Packets(t.Context(), capture.Frames(), lab.KindDFIDCount))(t) {
		t.Error(v)
	}
	for _, v := range must(proof.Daemon(t.Context(), d.Proxy, before))(t) {
		t.Error(v)
	}
	if s := d.accounted(t); s.Packets.Dropped+s.Unmatched.Dropped < 10 {
		t.Errorf("hardly anything was refused: %+v", s)
	}
}
