// Package talker is a module for tests, of level message: a field of the message
// says what it does, and another tells what it saw.
package talker

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/promethos/promethos/pfm"
)

var (
	reasonRefused = pfm.NewReason(pfm.ReasonInfo{Name: "talker.refused", Field: "http.head", Doc: "it asked to be refused"})
	reasonMended  = pfm.NewReason(pfm.ReasonInfo{Name: "talker.mended", Repaired: true, Field: "http.head", Doc: "it asked to be mended"})
)

// Module does it.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "talker", BindMessage: bind}}, Migrate: migrate}

// migrate knows schema 1, whose counts it adds 100 to.
func migrate(_ pfm.Kept, schema uint32, old, fresh []byte) bool {
	copy(fresh, old)
	fresh[0] += 100
	return schema == 1
}

func bind(b *pfm.Binding) (*pfm.MessageProcessor, error) {
	greeting, _ := b.Setting("greeting")
	if greeting == "wrong" {
		return nil, errors.New("wrong greeting")
	}
	b.Timer = func() { b.Log("timer " + greeting) }
	t := &talker{b, greeting}
	return &pfm.MessageProcessor{Request: t.head, RequestBody: t.body, Response: t.head, ResponseBody: t.body}, nil
}

type talker struct {
	b        *pfm.Binding
	greeting string
}

// head does what the field Do of a request or response asks for.
func (t *talker) head(m *pfm.Message) pfm.Verdict {
	do, _ := m.Field("Do")
	word, rest, _ := strings.Cut(do, " ")
	saw := greet(m)
	switch word {
	case "count":
		m.Storage()[0]++
		saw = strconv.Itoa(int(m.Storage()[0])) + " " + strconv.FormatUint(t.b.Add(0, 1), 10)
	case "greeting":
		saw = t.greeting
	case "method":
		saw = strconv.FormatBool(m.SetMethod(rest))
	case "target":
		path, query, _ := strings.Cut(rest, "?")
		saw = strconv.FormatBool(m.SetTarget(path, query))
	case "host":
		saw = strconv.FormatBool(m.SetHost(rest, 8080)) + " " + m.Host() + " " + m.AskedHost()
	case "status":
		code, _ := strconv.Atoi(rest)
		saw = strconv.FormatBool(m.SetStatus(code)) + " " + strconv.Itoa(m.Status())
	case "fields":
		saw = strconv.Itoa(m.FieldCount())
		for name, value := range m.Fields() {
			saw += " " + name + "=" + strconv.Itoa(len(value))
		}
		for v := range m.Values("X-Many") {
			saw += " " + v
		}
		_, none := m.Field("None")
		saw += " " + strconv.FormatBool(none)
	case "edit":
		m.RemoveField("X-Gone")
		saw = strconv.FormatBool(m.SetField("X-Many", "one")) + strconv.FormatBool(m.AddField("X-More", "two")) +
			strconv.FormatBool(m.SetField("Content-Length", "3")) + strconv.FormatBool(m.SetField("X-Bad", "a\r\nb"))
	case "body":
		m.NeedBody(1 << 16)
	case "refuse":
		code, _ := strconv.Atoi(rest)
		return m.Refuse(reasonRefused, code)
	case "mend":
		if m.Finding(reasonMended) {
			return pfm.Stopped
		}
	case "timer":
		t.b.After(time.Second)
	case "loop":
		for i := 0; ; i++ {
			saw = strconv.Itoa(i)
		}
	case "trap":
		panic("asked to")
	}
	m.SetField("Saw", saw)
	return pfm.Accept
}

// greet tells of what every message has.
func greet(m *pfm.Message) string {
	return strings.Join([]string{m.Method(), m.Path(), m.Query(), m.Host(), strconv.Itoa(m.Status()), strconv.Itoa(m.Minor()), strconv.FormatBool(m.TLS()),
		m.Client().Addr().String(), m.Server().String(), strconv.FormatBool(m.Now() > 0)}, " ")
}

// body changes the body that head has asked for.
func (t *talker) body(m *pfm.Message) pfm.Verdict {
	if strings.Contains(string(m.Body()), "bad") {
		return m.Refuse(reasonRefused, 422)
	}
	m.SetField("Length", strconv.Itoa(m.BodyLen()))
	m.SetBody([]byte(strings.ReplaceAll(string(m.Body()), "one", "three")))
	return pfm.Accept
}
