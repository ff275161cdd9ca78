package demo

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strconv"
	"text/tabwriter"

	"github.com/promethos/promethos/control"
)

// frontPort is where the instance with the chain [http] listens on the proxy.
const frontPort = 8080

// MessageRow is one malformed request's line of the second result table.
type MessageRow struct {
	Name    string `json:"name"`
	Without int    `json:"without"` // status code of the server's answer
	With    int    `json:"with"`    // of ours
	Reason  string `json:"reason"`
	Counted uint64 `json:"counted"`
	Held    bool   `json:"held"`
}

// goodRequest is one that nobody refuses.
const goodRequest = "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\n\r\n"

// messages are malformed requests that the demo's server takes for good ones.
var messages = []struct{ name, text, reason string }{
	{"Content-Length with chunked", "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"http.content-length.with-transfer-encoding"},
	{"two equal lengths", "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "http.content-length.duplicate"},
	{"lines that end with LF alone", "GET /data?bytes=1&seed=1 HTTP/1.1\nHost: a\n\n", "http.head.bare-lf"},
	{"a field on two lines", "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\nAccept: a,\r\n b\r\n\r\n", "http.head.obs-fold"},
	{"an extension of a chunk", "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", "http.chunk.extension"},
}

// ask sends octets to a web server and gives the status code of what it answers.
func (d *show) ask(addr, text string) (int, error) {
	c, err := d.lab.Client.Dial(d.ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err
	}
	res, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// askBoth sends the malformed requests to the server itself and through the
// chain [http], with a good one first.
func (d *show) askBoth(client *control.Client) error {
	front := net.JoinHostPort(d.lab.Proxy.IPv4.String(), strconv.Itoa(frontPort))
	if code, err := d.ask(front, goodRequest); err != nil || code != nethttp.StatusOK {
		d.problem("a good request through http: status %d, %v", code, err)
	}
	for _, m := range messages {
		row := MessageRow{Name: m.name, Reason: m.reason}
		var err error
		if row.Without, err = d.ask(d.server.Addr, m.text); err != nil {
			return fmt.Errorf("demo: %s, to the server: %w", m.name, err)
		}
		if row.With, err = d.ask(front, m.text); err != nil {
			return fmt.Errorf("demo: %s, to the proxy: %w", m.name, err)
		}
		d.result.Messages = append(d.result.Messages, row)
	}
	reasons, err := client.Reasons(d.ctx)
	if err != nil {
		return err
	}
	for i := range d.result.Messages {
		row := &d.result.Messages[i]
		row.Counted = counted(reasons, row.Reason)
		row.Held = row.Without == nethttp.StatusOK && row.With == nethttp.StatusBadRequest && row.Counted == 1
		if !row.Held {
			d.problem("request %s: status %d from the server, %d through the proxy, reason %s counted %d times", row.Name, row.Without, row.With, row.Reason, row.Counted)
		}
	}
	return nil
}

// tellMessages prints the table of requests.
func (d *show) tellMessages() error {
	fmt.Fprintln(d.w, "5. HTTP: malformed requests to the server itself, and to an instance with the chain [http]:")
	fmt.Fprintln(d.w)
	t := tabwriter.NewWriter(d.w, 3, 0, 2, ' ', 0)
	fmt.Fprintln(t, "   REQUEST\tSERVER ANSWERS\tPROXY ANSWERS\tREASON\tCOUNTED")
	for _, m := range d.result.Messages {
		fmt.Fprintf(t, "   %s\t%d\t%d\t%s\t%d\n", m.Name, m.Without, m.With, m.Reason, m.Counted)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(d.w)
	return nil
}
