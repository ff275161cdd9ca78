package e2e

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestOverride: one reason is let pass at run time, a reload keeps it, and what a
// command made it takes back.
func TestOverride(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	configuration := "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: " + l.Server.IPv4.String() + "}\n    chain: [tcp]\n"
	d := start(t, l, configuration)
	env := must(l.AttackEnv(p))(t)
	null := must(lab.AttackByName("null-scan"))(t)
	sends := func(want lab.Outcome) {
		t.Helper()
		before := d.counted(t, null.Reason)
		got := attackExpecting(t, l, env, []lab.Attack{null}, want, func() {
			eventually(t, "judged", func() (bool, string) { return d.counted(t, null.Reason) > before, "" })
		})
		if got[null.Name] != want {
			t.Errorf("%s %v, want %v", null.Name, got[null.Name], want)
		}
	}
	sends(lab.Stopped)
	d.do(t, "override", "web", null.Reason, "monitor", "--client", env.Source4.String())
	sends(lab.Arrived)
	d.configure(t, strings.Replace(configuration, "chain: [tcp]", "chain: [tcp]\n    initiate: client", 1))
	if got := d.do(t, "reload"); got != "change web\n" {
		t.Errorf("reload says %q", got)
	}
	sends(lab.Arrived)
	if list := d.do(t, "override"); !strings.Contains(list, env.Source4.String()+"/32") || !strings.Contains(list, "runtime") {
		t.Errorf("list:\n%s", list)
	}
	d.do(t, "override", "web", null.Reason, "default", "--client", env.Source4.String())
	sends(lab.Stopped)
	for args, status := range map[string]int{"override web": 2, "override web x.y nothing": 2, "override web x.y monitor": 1, "override none tcp.flags.null monitor": 1} {
		if r := d.try(t, strings.Fields(args)...); r.status != status {
			t.Errorf("%v\nwant status %d", r, status)
		}
	}
}

// TestReloadPlanAndWatch: a plan changes nothing, a file that changes is read by
// itself, and one with a mistake changes nothing.
func TestReloadPlanAndWatch(t *testing.T) {
	l := up(t, lab.Options{})
	instance := func(name, port string) string {
		return "  - name: " + name + "\n    match: {protocol: tcp, server: " + l.Server.IPv4.String() + ", port: " + port + "}\n    chain: [tcp]\n"
	}
	d := start(t, l, "version: 1\nwatch: true\ninstances:\n"+instance("a", "80"))
	names := func() (list []string) {
		for _, i := range d.instances(t) {
			list = append(list, i.Name)
		}
		return list
	}
	await := func(want string) {
		t.Helper()
		eventually(t, want, func() (bool, string) { got := strings.Join(names(), " "); return got == want, got })
	}
	d.configure(t, "version: 1\nwatch: true\ninstances:\n"+instance("a", "80")+instance("b", "81"))
	await("a b")
	d.configure(t, "version: 1\nwatch: true\ninstances:\n"+instance("a", "80")+instance("b", "0"))
	d.event(t, "reload refused: 1 problems")
	await("a b")
	if r := d.try(t, "reload", "--plan"); r.status != 2 || !strings.Contains(r.errors, "port 0 is no port") {
		t.Errorf("%v", r)
	}
	d.stop(t)

	d = start(t, l, "version: 1\ninstances:\n"+instance("a", "80"))
	d.configure(t, "version: 1\nmetrics: 127.0.0.1:9477\ninstances:\n"+instance("b", "81"))
	if got := d.do(t, "reload", "--plan"); got != "remove a\nadd b\nrestart metrics: counts from the next start on\n" {
		t.Errorf("plan %q", got)
	}
	await("a")
	if got := d.do(t, "reload"); !strings.HasPrefix(got, "remove a\nadd b\n") {
		t.Errorf("reload %q", got)
	}
	await("b")
}
