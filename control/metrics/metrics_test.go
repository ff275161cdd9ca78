package metrics

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestNames holds the metrics to the conventions of Prometheus (practices,
// "Metric and label naming").
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Families() {
		if !regexp.MustCompile(`^promethos(_[a-z]+)+$`).MatchString(f.Name) {
			t.Errorf("%s: not promethos_ and lowercase words", f.Name)
		}
		if seen[f.Name] {
			t.Errorf("%s: stands twice", f.Name)
		}
		seen[f.Name] = true
		if total := strings.HasSuffix(f.Name, "_total"); total != (f.Kind == "counter") {
			t.Errorf("%s: a %s; counters end in _total, and nothing else does", f.Name, f.Kind)
		}
		if !slices.Contains([]string{"counter", "gauge", "histogram"}, f.Kind) {
			t.Errorf("%s: kind %q", f.Name, f.Kind)
		}
		for _, bad := range []string{"millisecond", "_ms", "_kb", "_bits", "_count", "_sum", "_bucket", "_counter", "_gauge"} {
			if strings.Contains(f.Name+"_", bad+"_") {
				t.Errorf("%s: %s is no base unit, or a suffix that belongs to the format", f.Name, bad)
			}
		}
		if f.Help == "" || !strings.HasSuffix(f.Help, ".") || strings.ContainsAny(f.Help, "\n\\") {
			t.Errorf("%s: help %q is not one sentence", f.Name, f.Help)
		}
		for _, l := range f.Labels {
			if !regexp.MustCompile(`^[a-z]+$`).MatchString(l) || l == "le" || strings.Contains(f.Name, "_"+l+"_total") {
				t.Errorf("%s: label %q", f.Name, l)
			}
		}
	}
}

// sample is one line of the text format.
var sample = regexp.MustCompile(`^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$`)

// parse reads the text format as strictly as it is written down, and gives the
// value of each series.
func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	values, kinds := map[string]float64{}, map[string]string{}
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.Fields(line); f[0] == "#" {
			if f[1] == "TYPE" {
				if kinds[f[2]] != "" {
					t.Errorf("%s is typed twice", f[2])
				}
				kinds[f[2]], last = f[3], f[2]
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q", line)
			continue
		}
		family := m[1]
		if kinds[last] == "histogram" {
			family = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(family, "")
		}
		if family != last {
			t.Errorf("%s stands under %s", m[1], last)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		name := m[1]
		if m[2] != "" {
			name += "{" + m[2] + "}"
		}
		if _, twice := values[name]; twice {
			t.Errorf("%s stands twice", name)
		}
		values[name] = v
	}
	return values
}

// TestWrite: what an engine counted is what is written.
func TestWrite(t *testing.T) {
	watched := ppftest.Instance("watched", "tcp")
	watched.Hook, watched.Mode = ppf.Input, ppf.Monitor
	front := ppf.InstanceSpec{Name: "front", Source: ppf.SourceListen, Listen: netip.MustParseAddrPort("192.0.2.1:80"), Upstream: netip.MustParseAddrPort("198.51.100.1:80")}
	front.Chain = [2][]string{{"relay"}, {"relay"}}
	b := ppftest.New(t, ppftest.Instance("plc", "tcp"), watched, front)
	session, err := b.Engine.NewSession("front", nil, netip.MustParseAddrPort("192.0.2.9:1"), front.Upstream, nil)
	if err != nil {
		t.Fatal(err)
	}
	session.Rebuilt(ppf.ClientToServer, 100)
	session.Carried()
	session.Refused(ppf.ServerToClient)
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	null := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(t)
	b.Send(ppf.Forward, syn)
	b.Send(ppf.Forward, null)
	b.Send(ppf.Input, null)
	b.Send(ppf.Forward, []byte{0x45})
	in := Input{
		Engine: b.Engine.Measure(), Version: `1"2\3`,
		Sources: []ppf.SourceStats{{Name: "queue 7", Received: 4, Sent: 2, Emitted: 1, KernelDropped: 5, SocketDropped: 6, VerdictErrors: 8, Depth: 9}},
		Kernel:  []ppf.KernelLoss{{Family: "ipv4", Counter: "ReasmFails", Count: 11}},
	}
	in.Engine.Instances[1].Cookies = &ppf.CookieInfo{Active: true, Sent: 13, Opened: 12}
	var out strings.Builder
	if err := Write(&out, &in); err != nil {
		t.Fatal(err)
	}
	got := parse(t, out.String())
	for series, want := range map[string]float64{
		`promethos_build_info{version="1\"2\\3"}`:                                                           1,
		`promethos_instance_protecting{instance="plc",mode="repair"}`:                                       1,
		`promethos_instance_protecting{instance="watched",mode="monitor"}`:                                  0,
		`promethos_connections{instance="plc"}`:                                                             1,
		`promethos_syn_cookies_active{instance="plc"}`:                                                      1,
		`promethos_syn_cookies_sent_total{instance="plc"}`:                                                  13,
		`promethos_syn_cookies_opened_total{instance="plc"}`:                                                12,
		`promethos_connections_limit`:                                                                       1 << 20,
		`promethos_packets_received_total{instance="plc",flow="cs"}`:                                        2,
		`promethos_received_bytes_total{instance="plc",flow="cs"}`:                                          float64(len(syn) + len(null)),
		`promethos_packets_total{instance="plc",flow="cs",result="sent"}`:                                   1,
		`promethos_packets_total{instance="plc",flow="cs",result="dropped"}`:                                1,
		`promethos_packets_total{instance="-",flow="-",result="dropped"}`:                                   1,
		`promethos_packets_total{instance="watched",flow="cs",result="unchanged"}`:                          1,
		`promethos_reasons_total{instance="plc",flow="cs",reason="tcp.flags.null",action="drop"}`:           1,
		`promethos_reasons_total{instance="watched",flow="cs",reason="tcp.flags.null",action="would-drop"}`: 1,
		`promethos_reasons_total{instance="-",flow="-",reason="ip.truncated",action="drop"}`:                1,
		`promethos_function_drops_total{instance="plc",flow="cs",function="tcp"}`:                           1,
		`promethos_messages_total{instance="front",flow="cs",result="sent"}`:                                1,
		`promethos_messages_total{instance="front",flow="sc",result="unchanged"}`:                           1,
		`promethos_messages_total{instance="front",flow="sc",result="dropped"}`:                             1,
		`promethos_message_bytes_total{instance="front",flow="cs"}`:                                         100,
		`promethos_queue_received_total{queue="queue 7"}`:                                                   4,
		`promethos_queue_released_total{queue="queue 7"}`:                                                   2,
		`promethos_queue_emitted_total{queue="queue 7"}`:                                                    1,
		`promethos_queue_kernel_drops_total{queue="queue 7"}`:                                               5,
		`promethos_queue_socket_drops_total{queue="queue 7"}`:                                               6,
		`promethos_queue_verdict_errors_total{queue="queue 7"}`:                                             8,
		`promethos_queue_waiting{queue="queue 7"}`:                                                          9,
		`promethos_kernel_losses_total{family="ipv4",counter="ReasmFails"}`:                                 11,
		`promethos_processing_seconds_count`:                                                                4,
		`promethos_processing_seconds_bucket{le="+Inf"}`:                                                    4,
		`promethos_processing_seconds_bucket{le="2.56e-07"}`:                                                4,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (%v), want %v", series, v, ok, want)
		}
	}
	// Each family has a sample, so that the test sees all of them.
	for _, f := range Families() {
		if !strings.Contains(out.String(), "\n"+f.Name+"{") && !strings.Contains(out.String(), "\n"+f.Name+" ") && !strings.Contains(out.String(), "\n"+f.Name+"_count ") {
			t.Errorf("%s has no sample", f.Name)
		}
	}
	for name, f := range map[string]*ppf.FlowMeasure{"plc": &in.Engine.Instances[1].Flow[0], "-": &in.Engine.Unmatched} {
		sum := uint64(0)
		for _, r := range f.Results() {
			sum += r.Count
		}
		if sum != f.In {
			t.Errorf("%s: results sum up to %d, received %d", name, sum, f.In)
		}
	}
}

// TestDashboard: the dashboard for Grafana asks for metrics and labels that there
// are, and for all metrics that move.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	families := map[string]Family{}
	for _, f := range Families() {
		families[f.Name] = f
	}
	used, ids := map[string]bool{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			labels := []string{"le"}
			names := regexp.MustCompile(`promethos_[a-z_]+`).FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: %q asks for no metric", p.Title, target.Expr)
			}
			for _, name := range names {
				f, ok := families[strings.TrimSuffix(name, "_bucket")]
				if !ok || strings.HasSuffix(name, "_bucket") != (f.Kind == "histogram") {
					t.Errorf("%s: there is no metric %s", p.Title, name)
				}
				if f.Kind == "counter" && !strings.Contains(target.Expr, "rate("+name+"[") {
					t.Errorf("%s: counter %s without a rate", p.Title, name)
				}
				used[f.Name] = true
				labels = append(labels, f.Labels...)
			}
			asked := regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1)
			for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(target.Expr, -1) {
				for _, l := range strings.Split(by[1], ", ") {
					asked = append(asked, []string{"", l})
				}
			}
			for _, l := range asked {
				if !slices.Contains(labels, l[1]) {
					t.Errorf("%s: there is no label %q", p.Title, l[1])
				}
			}
		}
	}
	for _, name := range []string{"promethos_packets_total", "promethos_messages_total", "promethos_reasons_total", "promethos_queue_kernel_drops_total", "promethos_kernel_losses_total", "promethos_processing_seconds"} {
		if !used[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// TestHistogram: bounds are inclusive, as le says.
func TestHistogram(t *testing.T) {
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	for _, tt := range []struct {
		ns   int64
		want int
	}{{-5, 0}, {0, 0}, {256, 0}, {257, 1}, {512, 1}, {513, 2}, {1024, 2}, {1025, 3}, {256 << 15, 15}, {256<<15 + 1, -1}} {
		clock := &stepping{Env: ppf.DryEnv(), step: tt.ns}
		e, err := ppf.New(ppf.Options{Env: clock, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		e.Handlers()[0].Handle([]ppf.Frame{{Hook: ppf.Forward, Data: syn, WireLen: len(syn)}})
		h := e.Measure().Time
		if h.Count != 1 || h.Sum != uint64(max(tt.ns, 0)) {
			t.Errorf("%d ns: %+v", tt.ns, h)
		}
		for i, n := range h.Buckets {
			if (n == 1) != (i == tt.want) {
				t.Errorf("%d ns: bucket %d has %d, want it in %d", tt.ns, i, n, tt.want)
			}
		}
	}
}

// stepping is a clock that moves on by step at each look.
type stepping struct {
	ppf.Env
	now, step int64
}

func (s *stepping) Now() int64 {
	s.now += s.step
	return s.now
}

func TestWriteError(t *testing.T) {
	if err := Write(full{}, &Input{}); err == nil {
		t.Error("a full disk is no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("full") }
