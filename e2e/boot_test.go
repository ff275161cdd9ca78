package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// machine is a systemd that has booted in the namespace of a host of the lab.
type machine struct {
	init string // process number of systemd
}

// bootWatchdog is the watchdog's time in seconds, short for a test and long for a
// busy machine.
const bootWatchdog = 5

// refusedStatus is boot.sh's where a machine does not let root do what it needs.
const refusedStatus = 77

// boot lets systemd boot on a host with a package installed.
func boot(t *testing.T, h *lab.Host, deb, configuration string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: file systems are mounted and devices made")
	}
	for _, tool := range []string{"unshare", "nsenter", "dpkg", "systemctl"} {
		need(t, tool)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skipf("needs systemd: %v", err)
	}
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, configuration)
	c := h.Command(t.Context(), "unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
		"testdata/boot.sh", t.TempDir(), deb, file, fmt.Sprint(bootWatchdog))
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	check(t, c.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Wait() }() // it is killed in the end
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
		if t.Failed() {
			t.Log(said.String())
		}
	})
	m := &machine{}
	eventually(t, "systemd starts", func() (bool, string) {
		select {
		case <-ended:
			if c.ProcessState.ExitCode() == refusedStatus {
				t.Skipf("needs mounts of overlay and cgroup2, and device files: %s", said.String())
			}
			t.Fatalf("no boot: %s", said.String())
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid))
		m.init = strings.TrimSpace(string(children))
		name, _ := os.ReadFile("/proc/" + m.init + "/comm")
		return strings.TrimSpace(string(name)) == "systemd", fmt.Sprintf("%s is %s", m.init, name)
	})
	var state string
	eventually(t, "services start", func() (bool, string) {
		state = strings.TrimSpace(m.execute(t, "systemctl", "is-active", "sandbox.service").out)
		return state == "active" || state == "failed", state
	})
	if state == "failed" {
		t.Skipf("needs a machine on which services may have file systems of their own: %s", m.execute(t, "systemctl", "status", "--no-pager", "sandbox.service").out)
	}
	for _, unit := range []string{"promethos-block.service", "promethos.service"} {
		eventually(t, unit+" is active", func() (bool, string) {
			r := m.execute(t, "systemctl", "is-active", unit)
			return r.status == 0, m.execute(t, "systemctl", "status", "--no-pager", unit).String()
		})
	}
	return m
}

// execute runs a program on the machine.
func (m *machine) execute(t *testing.T, args ...string) result {
	t.Helper()
	return executeHere(t, "nsenter", append([]string{"-t", m.init, "-a"}, args...)...)
}

// must is execute, and the program succeeds.
func (m *machine) must(t *testing.T, args ...string) string {
	t.Helper()
	r := m.execute(t, args...)
	if r.status != 0 {
		t.Fatalf("%v\n%s", r, m.execute(t, "journalctl", "-b", "-n", "50", "--no-pager").out)
	}
	return strings.TrimSpace(r.out)
}

// property is one of a unit.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return m.must(t, "systemctl", "show", "-p", name, "--value", unit)
}

// number is a property that is one.
func (m *machine) number(t *testing.T, unit, name string) int {
	t.Helper()
	return must(strconv.Atoi(m.property(t, unit, name)))(t)
}

// restarted waits until the daemon has been started again n times in all and is
// ready.
func (m *machine) restarted(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the daemon is started again", func() (bool, string) {
		got, state := m.number(t, "promethos.service", "NRestarts"), m.property(t, "promethos.service", "ActiveState")
		return got == n && state == "active", fmt.Sprintf("%s, %d starts, want %d", state, got, n)
	})
}

// keys gives the daemon's service a certificate and its key, and tells the folder in
// which it finds them: handed over by systemd, or the user's own where systemd has
// no file system for that.
func (m *machine) keys(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, lab.WriteCertificate(dir, "web", "localhost"))
	put := func(path, text string) {
		t.Helper()
		m.must(t, "sh", "-c", `umask 077; mkdir -p "${0%/*}"; printf %s "$1" >"$0"`, path, text)
	}
	const own = "/etc/promethos/keys"
	var load string
	for _, name := range []string{"web.crt", "web.key"} {
		put(own+"/"+name, string(must(os.ReadFile(filepath.Join(dir, name)))(t)))
		load += "LoadCredential=" + name + ":" + own + "/" + name + "\n"
	}
	if r := m.execute(t, "systemd-run", "--wait", "-p", "User=promethos", "-p", "LoadCredential=web.key:"+own+"/web.key", "sh", "-c", "cat $CREDENTIALS_DIRECTORY/web.key"); r.status != 0 {
		t.Logf("keys are the user's own: no credentials here: %v", r)
		m.must(t, "chown", "-R", "promethos:", own)
		return own
	}
	put("/etc/systemd/system/promethos.service.d/key.conf", "[Service]\n"+load)
	return "/run/credentials/promethos.service"
}

// TestBoot boots a systemd with the package: the servers are closed before there is
// a network, the daemon has what it needs and no more, comes back when it is killed
// or hangs, and an upgrade or the package's removal opens nothing.
func TestBoot(t *testing.T) {
	need(t, "curl")
	need(t, "ip")
	l := up(t, lab.Options{})
	w := web(t, l.Server)
	addr := hostPort(l.Server, "tcp4", port(t, w.Addr))
	opens := func(when string) {
		t.Helper()
		eventually(t, when+": the server answers", func() (bool, string) { return !unreached(t, l.Client, addr), addr })
	}
	closed := func(when string) {
		t.Helper()
		if !unreached(t, l.Client, addr) {
			t.Errorf("%s: the server is open", when)
		}
	}
	opens("without the package")
	m := boot(t, l.Proxy, buildPackage(t, t.TempDir()), fmt.Sprintf(`version: 1
on_exit: block
instances:
  - name: web
    match: {protocol: tcp, server: %s}
    chain: [tcp]
`, l.Server.IPv4))
	eventually(t, "the network may come up", func() (bool, string) {
		return m.number(t, "network-pre.target", "ActiveEnterTimestampMonotonic") > 0, ""
	})
	for _, unit := range []string{"promethos-block.service", "promethos.service"} {
		if ready, network := m.number(t, unit, "ActiveEnterTimestampMonotonic"), m.number(t, "network-pre.target", "ActiveEnterTimestampMonotonic"); ready > network {
			t.Errorf("%s came %d µs after the network", unit, ready-network)
		}
	}
	opens("after the boot")
	if list := m.must(t, "promethos", "instances"); !strings.Contains(list, "web") {
		t.Errorf("instances:\n%s", list)
	}
	status := m.must(t, "cat", "/proc/"+m.property(t, "promethos.service", "MainPID")+"/status")
	// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW of linux/capability.h.
	for _, want := range []string{fmt.Sprintf("CapEff:\t%016x\n", 1<<10|1<<12|1<<13), "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("the daemon has no %q:\n%s", want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") {
		t.Error("the daemon is root")
	}

	m.must(t, "systemctl", "kill", "--kill-whom=main", "-s", "KILL", "promethos.service")
	m.restarted(t, 1)
	opens("after a kill")
	m.must(t, "systemctl", "kill", "--kill-whom=main", "-s", "STOP", "promethos.service")
	m.restarted(t, 2)
	opens("after the watchdog")

	// A pair whose ports are not there yet, and a key that only the service reads.
	m.must(t, "systemctl", "stop", "promethos.service")
	closed("stopped")
	keys := m.keys(t)
	m.must(t, "sh", "-c", "cat >>/etc/promethos/promethos.yaml <<-EOF\n"+fmt.Sprintf(`  - name: front
    source: listen
    listen: %s:8443
    upstream: %s
    chain: [https, http]
    modules: {https: {certificate: %s/web.crt, key: %s/web.key, upstream: plain}}
`, l.Proxy.IPv4, addr, keys, keys)+"EOF")
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemctl", "restart", "promethos-block.service")
	closed("with a key that is not there yet")
	m.must(t, "sh", "-c", "cat >>/etc/promethos/promethos.yaml <<-EOF\n"+strings.TrimPrefix(strings.NewReplacer(lab.ClientInterface, "late0", lab.ServerInterface, "late1").Replace(wire("arp, tcp")), "version: 1\ninstances:\n")+"EOF")
	if r := m.execute(t, "systemctl", "start", "promethos.service"); r.status == 0 {
		t.Error("the daemon runs without a port")
	}
	m.must(t, "ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
	eventually(t, "the ports are closed as they come", func() (bool, string) {
		said := m.execute(t, "journalctl", "-b", "-u", "promethos-block.service", "-o", "cat", "--no-pager").out
		return strings.Contains(said, "closed: late0\n") && strings.Contains(said, "closed: late1\n"), said
	})
	eventually(t, "the daemon starts when they are there", func() (bool, string) {
		return m.property(t, "promethos.service", "ActiveState") == "active", m.execute(t, "journalctl", "-b", "-n", "30", "--no-pager").out
	})
	opens("with its ports")
	if r := execute(t, l.Client, "curl", "-sk", fmt.Sprintf("https://%s:8443/", l.Proxy.IPv4)); r.status != 0 {
		t.Errorf("with a key from %s: %v", keys, r)
	}

	m.must(t, "systemctl", "stop", "promethos.service")
	closed("stopped again")
	m.must(t, "systemctl", "start", "promethos.service")
	before := m.property(t, "promethos.service", "MainPID")
	m.must(t, "dpkg", "-i", "/run/promethos.deb")
	if after := m.property(t, "promethos.service", "MainPID"); after == before || after == "0" {
		t.Errorf("the upgrade left process %s, now %s", before, after)
	}
	opens("after an upgrade")

	said := m.must(t, "dpkg", "-r", "promethos")
	closed("after removal")
	const hint = "nft delete table inet promethos"
	if !strings.Contains(said, hint) {
		t.Errorf("the removal does not say how to open the server:\n%s", said)
	}
	if _, err := exec.LookPath("nft"); err == nil {
		m.must(t, strings.Fields(hint)...)
		opens("as the package said")
	}
}
