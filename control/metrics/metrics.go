// Package metrics writes what the daemon counts in the text format that
// Prometheus reads (version 0.0.4).
package metrics

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/promethos/promethos/ppf"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Input is what there is to tell.
type Input struct {
	Engine  ppf.Measurement
	Sources []ppf.SourceStats
	Kernel  []ppf.KernelLoss
	Version string
}

// Family is one metric: its name, what it is, and its labels.
type Family struct {
	Name   string
	Kind   string // counter, gauge, histogram
	Help   string
	Labels []string
	// fill writes the samples of an input.
	fill func(*series, *Input)
}

// Families lists all metrics, in the order in which they are written.
func Families() []Family { return families }

// flowLabels are those of whatever is counted per flow. Instance "-" is traffic of
// no instance.
var flowLabels = []string{"instance", "flow"}

var families = []Family{
	{"promethos_build_info", "gauge", "Always 1; the program's version is a label.", []string{"version"},
		func(s *series, in *Input) { s.add(1, in.Version) }},
	{"promethos_instance_protecting", "gauge", "1 where an instance protects, 0 in mode monitor.", []string{"instance", "mode"},
		func(s *series, in *Input) {
			for _, i := range in.Engine.Instances {
				protects := uint64(1)
				if i.Mode == ppf.Monitor {
					protects = 0
				}
				s.add(protects, i.Name, i.Mode.String())
			}
		}},
	{"promethos_connections", "gauge", "Connections that are tracked.", []string{"instance"},
		func(s *series, in *Input) {
			for _, i := range in.Engine.Instances {
				s.add(uint64(i.Connections), i.Name)
			}
		}},
	{"promethos_syn_cookies_active", "gauge", "1 where an instance answers SYNs with cookies now, 0 where it would.", []string{"instance"},
		perCookies(func(c *ppf.CookieInfo) uint64 {
			if c.Active {
				return 1
			}
			return 0
		})},
	{"promethos_syn_cookies_sent_total", "counter", "SYNs that were answered with a cookie.", []string{"instance"},
		perCookies(func(c *ppf.CookieInfo) uint64 { return c.Sent })},
	{"promethos_syn_cookies_opened_total", "counter", "Connections that a cookie opened.", []string{"instance"},
		perCookies(func(c *ppf.CookieInfo) uint64 { return c.Opened })},
	{"promethos_connections_limit", "gauge", "Connections that the table takes, over all instances.", nil,
		func(s *series, in *Input) { s.add(uint64(in.Engine.ConnectionLimit)) }},
	{"promethos_packets_received_total", "counter", "Packets that came in.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.In, instance, flow) })},
	{"promethos_received_bytes_total", "counter", "Bytes that came in, on layer 3.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.InBytes, instance, flow) })},
	{"promethos_packets_total", "counter", "What became of the packets that came in: each is in one result, but for those that are held.", []string{"instance", "flow", "result"},
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) {
			for _, r := range f.Results() {
				s.add(r.Count, instance, flow, r.Name)
			}
		})},
	{"promethos_packets_repaired_total", "counter", "Packets that were sent with a repair.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.Repaired, instance, flow) })},
	{"promethos_packets_emitted_total", "counter", "Extra packets of our own: resets, challenge ACKs, ICMP errors.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.Emitted, instance, flow) })},
	{"promethos_packets_held", "gauge", "Fragments that are kept until the others of their packet are there.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.Held, instance, flow) })},
	{"promethos_packets_split_total", "counter", "Packets that one was cut into for the way out, but for the first.", flowLabels,
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) { s.add(f.Split, instance, flow) })},
	{"promethos_messages_total", "counter", "What became of the messages of stream chains, or of streams where a function carries bytes.", []string{"instance", "flow", "result"},
		perMessages(func(s *series, m *ppf.MessageCounters, instance, flow string) {
			s.add(m.Sent, instance, flow, "sent")
			s.add(m.Unchanged, instance, flow, "unchanged")
			s.add(m.Dropped, instance, flow, "dropped")
		})},
	{"promethos_message_bytes_total", "counter", "Payload of stream chains that was sent on, as it was received.", flowLabels,
		perMessages(func(s *series, m *ppf.MessageCounters, instance, flow string) { s.add(m.InBytes, instance, flow) })},
	{"promethos_reasons_total", "counter", "How often a reason led to what (promethos reasons --all explains each).", []string{"instance", "flow", "reason", "action"},
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) {
			for _, r := range f.Reasons {
				s.add(r.Count, instance, flow, r.Reason, r.Outcome.String())
			}
		})},
	{"promethos_function_drops_total", "counter", "Packets that a user function dropped.", []string{"instance", "flow", "function"},
		perFlow(func(s *series, f *ppf.FlowMeasure, instance, flow string) {
			for _, e := range f.Ended {
				s.add(e.Count, instance, flow, e.Function)
			}
		})},
	{"promethos_queue_received_total", "counter", "Packets that a queue or port delivered.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.Received })},
	{"promethos_queue_released_total", "counter", "Verdicts that let a packet go on.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.Sent })},
	{"promethos_queue_emitted_total", "counter", "Extra packets sent.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.Emitted })},
	{"promethos_queue_waiting", "gauge", "Packets that wait for a verdict.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.Depth })},
	{"promethos_queue_kernel_drops_total", "counter", "Packets that the kernel dropped because the queue was full.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.KernelDropped })},
	{"promethos_queue_socket_drops_total", "counter", "Packets that did not fit into our socket buffer.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.SocketDropped })},
	{"promethos_queue_verdict_errors_total", "counter", "Verdicts that the kernel refused.", []string{"queue"},
		perQueue(func(q *ppf.SourceStats) uint64 { return q.VerdictErrors })},
	{"promethos_kernel_losses_total", "counter", "Packets that the kernel dropped before us, since the machine started.", []string{"family", "counter"},
		func(s *series, in *Input) {
			for _, k := range in.Kernel {
				s.add(k.Count, k.Family, k.Counter)
			}
		}},
	{"promethos_processing_seconds", "histogram", "Time from hand-over to verdict; packets of a batch count with its mean.", nil, fillTime},
}

func perFlow(f func(s *series, m *ppf.FlowMeasure, instance, flow string)) func(*series, *Input) {
	return func(s *series, in *Input) {
		for i := range in.Engine.Instances {
			instance := &in.Engine.Instances[i]
			for d := range instance.Flow {
				f(s, &instance.Flow[d], instance.Name, ppf.Dir(d).String())
			}
		}
		f(s, &in.Engine.Unmatched, "-", "-")
	}
}

func perMessages(f func(s *series, m *ppf.MessageCounters, instance, flow string)) func(*series, *Input) {
	return func(s *series, in *Input) {
		for i := range in.Engine.Instances {
			instance := &in.Engine.Instances[i]
			if instance.Messages == nil {
				continue
			}
			for d := range instance.Messages {
				f(s, &instance.Messages[d], instance.Name, ppf.Dir(d).String())
			}
		}
	}
}

func perCookies(f func(*ppf.CookieInfo) uint64) func(*series, *Input) {
	return func(s *series, in *Input) {
		for _, i := range in.Engine.Instances {
			if i.Cookies != nil {
				s.add(f(i.Cookies), i.Name)
			}
		}
	}
}

func perQueue(f func(*ppf.SourceStats) uint64) func(*series, *Input) {
	return func(s *series, in *Input) {
		for i := range in.Sources {
			s.add(f(&in.Sources[i]), in.Sources[i].Name)
		}
	}
}

func fillTime(s *series, in *Input) {
	h := &in.Engine.Time
	sum := uint64(0)
	for i, n := range h.Buckets {
		sum += n
		s.named("_bucket", []string{"le"}, strconv.FormatUint(sum, 10), seconds(ppf.TimeBound(i)))
	}
	s.named("_bucket", []string{"le"}, strconv.FormatUint(h.Count, 10), "+Inf")
	s.named("_sum", nil, seconds(h.Sum))
	s.named("_count", nil, strconv.FormatUint(h.Count, 10))
}

func seconds(ns uint64) string { return strconv.FormatFloat(float64(ns)/1e9, 'g', -1, 64) }

// series writes the samples of one family.
type series struct {
	w      *bufio.Writer
	family *Family
}

func (s *series) add(value uint64, labels ...string) {
	s.named("", s.family.Labels, strconv.FormatUint(value, 10), labels...)
}

// escape is what the format asks for in label values.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (s *series) named(suffix string, names []string, value string, labels ...string) {
	s.w.WriteString(s.family.Name + suffix)
	for i, name := range names {
		open := ","
		if i == 0 {
			open = "{"
		}
		s.w.WriteString(open + name + `="` + escape.Replace(labels[i]) + `"`)
	}
	if len(names) > 0 {
		s.w.WriteByte('}')
	}
	s.w.WriteString(" " + value + "\n")
}

// Write writes all metrics.
func Write(w io.Writer, in *Input) error {
	out := bufio.NewWriter(w)
	for i := range families {
		f := &families[i]
		out.WriteString("# HELP " + f.Name + " " + f.Help + "\n# TYPE " + f.Name + " " + f.Kind + "\n")
		f.fill(&series{out, f}, in)
	}
	return out.Flush()
}
