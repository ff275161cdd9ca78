package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// front is a chain of messages on a port of the proxy's own.
const front = `version: 1
instances:
  - name: front
    source: listen
    listen: '%s'
    upstream: '%s'
    chain: [http, urlrewrite, headers]
    mode: %s
    modules:
      urlrewrite: {rules: [{host: www.ethz.ch, to_host: www.web.ethz.ch}, {path: /files, to_path: /}]}
      headers: {set_response: {X-Frame-Options: DENY}}
`

// TestHTTPListen: curl and a large transfer go through a chain of messages, a
// malformed request is refused with its reason, and with the daemon killed
// nothing reaches the server.
func TestHTTPListen(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			server := web(t, l.Server)
			upstream := hostPort(l.Server, network, port(t, server.Addr))
			listen := hostPort(l.Proxy, network, 8080)
			d := start(t, l, fmt.Sprintf(front, listen, upstream, "repair"))

			if got, err := l.Client.Download(t.Context(), at(listen).DataURL(20_000_000, 5)); err != nil || got.Bytes != 20_000_000 {
				t.Errorf("download: got %+v, %v", got, err)
			}
			if got, err := l.Client.Upload(t.Context(), at(listen).UploadURL(), 20_000_000, 6); err != nil || got.Bytes != 20_000_000 {
				t.Errorf("upload: got %+v, %v", got, err)
			}
			r := execute(t, l.Client, "curl", "-sS", "-i", "-o", "-", "--globoff", strings.Replace(at(listen).DataURL(10, 1), "/data", "/files/data", 1))
			if r.status != 0 || !strings.HasPrefix(r.out, "HTTP/1.1 200 OK\r\n") || !strings.Contains(r.out, "X-Frame-Options: DENY\r\n") {
				t.Errorf("%v", r)
			}
			r = execute(t, l.Client, "curl", "-sS", "-i", "--globoff", "-H", "Content-Length: 5", "-H", "Transfer-Encoding: chunked", "-d", "hello", "http://"+listen+"/")
			if !strings.HasPrefix(r.out, "HTTP/1.1 400 Bad Request\r\n") {
				t.Errorf("length with chunked: %v", r)
			}
			if reasons := d.do(t, "reasons"); !strings.Contains(reasons, "http.content-length.with-transfer-encoding") {
				t.Errorf("the reason is not counted:\n%s", reasons)
			}
			d.configure(t, fmt.Sprintf(front, listen, upstream, "monitor"))
			d.do(t, "reload")
			r = execute(t, l.Client, "curl", "-sS", "-i", "--globoff", "-X", "PURGE", at(listen).DataURL(10, 1))
			if !strings.HasPrefix(r.out, "HTTP/1.1 405 Method Not Allowed\r\n") || strings.Contains(r.out, "<title>405") {
				t.Errorf("in monitor a method reaches the server, which answers for itself: %v", r)
			}
			d.kill(t)
			if c, err := l.Client.Dial(t.Context(), network, listen); err == nil {
				c.Close()
				t.Error("the daemon is dead, and somebody answers")
			}
		})
	}
}
