package wasm

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/data"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
	"github.com/promethos/promethos/wasm/testdata/keeper"
)

// keeperManifest is that of testdata/keeper, as a guest or, with another name, as
// a built-in module.
func keeperManifest(name string, schema, connection int) string {
	return fmt.Sprintf(`{"abi":1,"name":%q,"version":"%d","doc":"for tests",
"functions":[{"name":"keeper","doc":"for tests","level":"packet","layer":4,"settings":{"type":"object","properties":{
 "greeting":{"type":"string","default":"hello","maxLength":20,"pattern":"^[a-z]*$","description":"use lowercase letters"},
 "again":{"type":"boolean"},
 "early":{"type":"boolean"},
 "level":{"type":"string","enum":["low","high"]},
 "count":{"type":"integer","minimum":1,"maximum":9},
 "share":{"type":"number","minimum":0,"maximum":1},
 "list":{"type":"array","maxItems":3,"items":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}
}}}],
"capabilities":["connection-storage","timers","emit","log","shared-data"],
"storage":{"schema":%d,"connection":%d,"instance":64},"limits":{"shared_kib":1}}`, name, schema, schema, connection)
}

// keeperBench is an engine with the module loaded in one of its forms.
func keeperBench(t *testing.T, form string, value ...ppf.KeyValue) (*ppftest.Bench, string) {
	t.Helper()
	dir := t.TempDir()
	b := ppftest.New(t)
	if form == "built-in" {
		if err := b.Engine.LoadModuleInfo(t.Context(), Native([]byte(keeperManifest("keeper", 1, 16)), keeper.Module)); err != nil {
			t.Fatal(err)
		}
	} else {
		install(t, dir, "keeper", buildGuest(t, "./testdata/keeper/guest"), keeperManifest("keeper", 1, 16))
	}
	in := ppftest.Instance("a", "keeper")
	in.Modules = map[string]ppf.Value{"keeper": {Kind: ppf.ValueMap, Map: value}}
	apply(b, dir, in)
	return b, dir
}

// ask sends a payload and gives the one that is sent on.
func ask(t *testing.T, b *ppftest.Bench, payload string) string {
	t.Helper()
	action, out := b.Send(ppf.Forward, segment(t, payload))
	if action != ppf.Accept {
		t.Fatalf("%q: %v, %q", payload, action, events(b, "fault"))
	}
	var p packet.Packet
	if r := p.Parse(packet.LinkRawIP, out); r != packet.ReasonNone {
		t.Fatalf("%q: sent %x: %v", payload, out, r)
	}
	if r := p.VerifyChecksums(true); r != packet.ReasonNone {
		t.Errorf("%q: sent %x: %v", payload, out, r)
	}
	return string(p.Payload())
}

func scalar(key, value string) ppf.KeyValue {
	return ppf.KeyValue{Key: key, Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: value}}
}

// TestKit: a guest and the same source as a built-in module do the same.
func TestKit(t *testing.T) {
	for _, form := range []string{"guest", "built-in"} {
		t.Run(form, func(t *testing.T) {
			item := func(name string) ppf.Value {
				return ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{scalar("name", name)}}
			}
			b, dir := keeperBench(t, form, scalar("again", "true"), ppf.KeyValue{Key: "list", Value: ppf.Value{Kind: ppf.ValueList, List: []ppf.Value{item("x"), item("y")}}})
			for _, step := range []struct{ payload, want string }{
				{"count", "1 1"}, {"count", "2 2"},
				{"settings", "hello x,y"},
				{"shared one", "true"}, {"shared two", "onetrue"}, {"shared " + strings.Repeat("x", 1100), "twofalse"}, {"shared", "twotrue"}, {"shared", "true"},
				{"data word", "falsefalsefalse"},
				{"emit", "true"},
				{"part of it", "of it"},
				{"bytes abc", "abc"},
				{"repair", "repair"},
				{"nothing", "nothing"},
			} {
				if got := ask(t, b, step.payload); got != step.want {
					t.Errorf("%.20q gives %q, want %q", step.payload, got, step.want)
				}
			}
			if n := b.Count("keeper.repaired", ppf.OutcomeRepair); n != 1 {
				t.Errorf("repaired %d", n)
			}
			checkEmitted(t, b)
			if action, _ := b.Send(ppf.Forward, segment(t, "refuse")); action != ppf.Drop || b.Count("keeper.refused", ppf.OutcomeDrop) != 1 {
				t.Errorf("refuse: %v", action)
			}
			r, ok := packet.ReasonByName("keeper.refused")
			if info := r.Info(); !ok || info.RFC != "9293 §1" || len(info.CVE) != 1 || info.Class != packet.Refused {
				t.Errorf("registered as %+v", info)
			}
			_, out := b.Send(ppf.Forward, segment(t, "tcp"))
			if window := out[34:36]; !bytes.Equal(window, []byte{0, 77}) || !bytes.Contains(out, []byte{2, 4, 0x04, 0xd2}) {
				t.Errorf("a segment of typed values: %x", out)
			}
			broken := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.ACK}, Payload: []byte("count"),
				EditIP: func(ip []byte) []byte { return ip }}.Bytes(t)
			broken[len(broken)-1] ^= 1
			if action, _ := b.Send(ppf.Forward, broken); action != ppf.Drop || b.Count("tcp.checksum", ppf.OutcomeDrop) != 1 {
				t.Errorf("a wrong checksum: %v %+v", action, b.Engine.ReasonCounts())
			}
			checkTimer(t, b)
			checkData(t, b, dir)
			// The third connection is one too many.
			for i, want := range []ppf.Action{ppf.Accept, ppf.Drop} {
				src := netip.AddrPortFrom(ppftest.Client4.Addr(), uint16(50000+i))
				data := ppftest.Segment{Src: src, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.ACK}, Payload: []byte("count")}.Bytes(t)
				if action, _ := b.Send(ppf.Forward, data); action != want {
					t.Errorf("connection %d: %v, want %v", i+2, action, want)
				}
			}
			if n := b.Count("conn.limit-instance", ppf.OutcomeDrop); n != 1 {
				t.Errorf("%d refused at the limit", n)
			}
			if got := events(b, "fault"); len(got) > 0 {
				t.Errorf("faults %q", got)
			}
			b.Accounted()
		})
	}
}

// checkEmitted: the three extra packets are what they should be.
func checkEmitted(t *testing.T, b *ppftest.Bench) {
	t.Helper()
	if len(b.Emitted) != 3 {
		t.Fatalf("emitted %x", b.Emitted)
	}
	for i, has := range []packet.Layers{packet.HasTCP, packet.HasUDP, packet.HasICMPv4} {
		var p packet.Packet
		if r := p.Parse(packet.LinkRawIP, b.Emitted[i]); r != packet.ReasonNone || !p.Has(has) || p.VerifyChecksums(true) != packet.ReasonNone || p.Dst() != ppftest.Client4.Addr() {
			t.Errorf("emitted %x: %v", b.Emitted[i], r)
		}
	}
	if udp := b.Emitted[1]; !bytes.HasSuffix(udp, []byte("hello")) {
		t.Errorf("emitted %x", udp)
	}
}

// checkTimer: it comes when its time has passed, and again when it wants to.
func checkTimer(t *testing.T, b *ppftest.Bench) {
	t.Helper()
	ask(t, b, "timer")
	for i, want := range []int{0, 0, 1, 1, 2} {
		if got := events(b, "timer 2"); len(got) != want {
			t.Errorf("after %d half seconds: %q", i, got)
		}
		b.Env.Advance(int64(time.Second) / 2)
		b.Engine.Handlers()[0].Tick(b.Env.Now() + int64(i%2))
	}
}

// checkData: a data module counts from the next packet on, and is reloaded by
// itself.
func checkData(t *testing.T, b *ppftest.Bench, dir string) {
	t.Helper()
	file := filepath.Join(dir, "list.data.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s string) {
		t.Helper()
		if got := ask(t, b, "data word"); got != s {
			t.Errorf("data: %q, want %q", got, s)
		}
	}
	write(`{"name":"list","version":"1","doc":"a list","addresses":["192.0.2.0/28"],"words":["other"],"bytes":["77 6f 72 64"]}`)
	if err := b.Engine.LoadModule(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	want("truetruetrue")
	write(`{"name":"list","addresses":["192.0.2.1/28"]}`)
	if err := b.Engine.ReloadModule(t.Context(), "list"); err == nil || !strings.Contains(err.Error(), "has host bits set") {
		t.Errorf("reload of a malformed list: %v", err)
	}
	want("truetruetrue")
	write(`{"name":"list","version":"2","doc":"a list","addresses":["192.0.2.64/28"]}`)
	if err := b.Engine.ReloadModule(t.Context(), "list"); err != nil {
		t.Fatal(err)
	}
	want("falsefalsetrue")
	for _, m := range b.Engine.Modules() {
		if m.Name == "list" && (m.Kind != data.Kind || m.Version != "2" || m.File != file) {
			t.Errorf("listed as %+v", m)
		}
	}
	if err := b.Engine.UnloadModule(t.Context(), "list", false); err != nil {
		t.Fatal(err)
	}
	want("falsefalsefalse")
}

// TestReload: storage moves over with the same schema, through migrate with
// another, and is dropped, and that told, where migrate cannot.
func TestReload(t *testing.T) {
	b, dir := keeperBench(t, "guest")
	binary := buildGuest(t, "./testdata/keeper/guest")
	reload := func(schema, connection int) {
		t.Helper()
		install(t, dir, "keeper", binary, keeperManifest("keeper", schema, connection))
		if err := b.Engine.ReloadModule(t.Context(), "keeper"); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s string) {
		t.Helper()
		if got := ask(t, b, "count"); got != s {
			t.Errorf("count: %q, want %q", got, s)
		}
	}
	want("1 1")
	ask(t, b, "shared kept")
	reload(1, 16)
	want("2 2")
	if got := ask(t, b, "shared more"); got != "kepttrue" {
		t.Errorf("shared data after a reload: %q", got)
	}
	reload(2, 200) // of another class of cells
	want("103 103")
	if got := ask(t, b, "shared"); got != "true" {
		t.Errorf("shared data of another schema: %q", got)
	}
	reload(3, 16) // which migrate does not know
	want("1 1")
	reload(3, 16)
	want("2 2")
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	for _, text := range []string{"storage of schema 1 is migrated", "the bytes of 1 connections were dropped"} {
		if len(events(b, text)) != 1 {
			t.Errorf("no event %q", text)
		}
	}

	// What cannot be loaded leaves the running one.
	install(t, dir, "keeper", []byte("nothing"), keeperManifest("keeper", 3, 16))
	if err := b.Engine.ReloadModule(t.Context(), "keeper"); err == nil {
		t.Error("a file that is no module was loaded")
	}
	install(t, dir, "keeper", assembly{process: verdictOf(1), configure: i32Const(1)}.bytes(), keeperManifest("keeper", 3, 16))
	if err := b.Engine.ReloadModule(t.Context(), "keeper"); err == nil || !strings.Contains(err.Error(), `instance a: function "keeper": it refused its settings with code 1`) {
		t.Errorf("a version that refuses the settings: %v", err)
	}
	install(t, dir, "keeper", binary, strings.Replace(keeperManifest("keeper", 3, 16), `[{"name":"keeper"`, `[{"name":"renamed"`, 1))
	if err := b.Engine.ReloadModule(t.Context(), "keeper"); err == nil || !strings.Contains(err.Error(), "it has no function keeper any more, which instance a uses") {
		t.Errorf("a version without the function: %v", err)
	}
	want("3 3")

	if err := b.Engine.UnloadModule(t.Context(), "keeper", false); err == nil || !strings.Contains(err.Error(), "is used by instance a") {
		t.Errorf("unload while in use: %v", err)
	}
	if err := b.Engine.UnloadModule(t.Context(), "keeper", true); err != nil {
		t.Fatal(err)
	}
	if action, _ := b.Send(ppf.Forward, segment(t, "count")); action != ppf.Drop || b.Count("chain.function-missing", ppf.OutcomeDrop) != 1 {
		t.Errorf("unloaded by force: %v", action)
	}
	b.Accounted()
}

// TestSettings: check tells every problem of a guest's settings, with its place.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "keeper", buildGuest(t, "./testdata/keeper/guest"), keeperManifest("keeper", 1, 16))
	at := func(line int, kv ppf.KeyValue) ppf.KeyValue {
		kv.Pos = ppf.Pos{File: "f", Line: line, Col: 1}
		kv.Value.Pos = ppf.Pos{File: "f", Line: line, Col: 9}
		return kv
	}
	list := func(items ...ppf.Value) ppf.KeyValue {
		return ppf.KeyValue{Key: "list", Value: ppf.Value{Kind: ppf.ValueList, List: items}}
	}
	in := ppftest.Instance("a", "keeper")
	in.Modules = map[string]ppf.Value{"keeper": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{
		at(1, scalar("greeting", "Hello")), at(2, scalar("again", "maybe")), at(3, scalar("level", "hgh")), at(4, scalar("count", "10")),
		at(5, scalar("share", "-1")), at(6, scalar("nosuch", "1")), at(7, list(ppf.Value{Kind: ppf.ValueScalar}, ppf.Value{Kind: ppf.ValueMap})),
	}}}
	problems := ppf.CheckSpec(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{in}})
	want := []string{
		`f:1:9: instances.a.modules.keeper.greeting: "Hello" does not look as it should (^[a-z]*$) (use lowercase letters)`,
		`f:2:9: instances.a.modules.keeper.again: "maybe" is not a truth value (write true or false)`,
		`f:3:9: instances.a.modules.keeper.level: "hgh" is unknown (did you mean "high"?)`,
		`f:4:9: instances.a.modules.keeper.count: 10 is out of range (1 at least, 9 at most)`,
		`f:5:9: instances.a.modules.keeper.share: -1 is out of range (0 at least, 1 at most)`,
		`f:6:1: instances.a.modules.keeper.nosuch: unknown key "nosuch" (known here: again, count, early, greeting, level, list, share)`,
		`instances.a.modules.keeper.list[0]: a map belongs here (write ` + "`name: value`" + ` lines)`,
		`instances.a.modules.keeper.list[1].name: the setting is missing (add it)`,
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Error())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	in.Modules["keeper"] = ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{scalar("greeting", "wrong")}}
	problems = ppf.CheckSpec(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{in}})
	if len(problems) != 1 || !strings.Contains(problems[0].What, `it refused its settings with code 1: "wrong greeting"`) {
		t.Errorf("what the guest itself refuses: %v", problems)
	}
}
