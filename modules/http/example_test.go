package http_test

import (
	"fmt"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// readOnly is a whole message function: it lets clients read, hides what is
// below /admin, and marks responses.
type readOnly struct{}

var reasonWrite = packet.NewReason("example", ppf.ReasonInfo{Name: "example.write", Doc: "a client wants to change something"})

func (readOnly) Request(x *http.Exchange) {
	if m := x.Request.Method(); m != "GET" && m != "HEAD" {
		x.Refuse(reasonWrite, 403)
		return
	}
	if x.Request.Path() == "/admin" {
		_ = x.Request.SetTarget("/", "")
	}
}

func (readOnly) Response(x *http.Exchange) {
	_ = x.Response.Set("X-Content-Type-Options", "nosniff")
	x.Response.Del("Set-Cookie")
}

// A message function is bound in a module's Start:
//
//	host.Register(ppf.UserFunction{
//		Name: "readonly", Level: ppf.LevelMessage, Layer: 7,
//		BindMessage: func(ppf.Binding) (any, error) { return readOnly{}, nil },
//	})
//
// and stands in a chain behind http. An Explainer runs it without a network.
func Example() {
	e := http.NewExplainer(readOnly{})
	x, _ := e.Request([]byte("GET /admin HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	fmt.Printf("%s\n%q\n", x.Verdict, x.Sent)
	x, _ = e.Request([]byte("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx"))
	fmt.Println(x.Verdict, x.Findings[0].Reason, len(x.Sent))
	x, _ = e.Response(nil, []byte("HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok"))
	fmt.Printf("%q\n", x.Sent)
	// Output:
	// sent
	// "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
	// refused example.write 0
	// "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 2\r\n\r\nok"
}

// A field of a message is read and changed by name; what frames the message is
// not among the fields.
func ExampleHeader() {
	var h http.Header
	_ = h.Add("accept", "text/html")
	_ = h.Add("Accept", "text/plain")
	_ = h.Edit("Accept", func(v string) (string, bool) { return v + ";q=1", v != "text/plain" })
	for name, value := range h.All() {
		fmt.Println(name, value)
	}
	fmt.Println(h.Set("Content-Length", "5"))
	fmt.Println(h.Set("X-Note", "a\r\nb"))
	// Output:
	// Accept text/html;q=1
	// field Content-Length: the field cannot be set (it is written from the message's framing)
	// field X-Note: the field cannot be set (its value has a control character)
}
