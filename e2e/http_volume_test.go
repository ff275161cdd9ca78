package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// shared is a chain of messages whose clients share connections to the server.
const shared = `version: 1
instances:
  - name: front
    source: listen
    listen: '%s'
    upstream: '%s'
    chain: [http]
    modules: {http: {share: true, idle_timeout: 10m}}
`

// TestHTTPIdle: many connections that stay open cost little memory, others are
// answered meanwhile, and nothing of them stays; 10,000 in a run that was asked for.
func TestHTTPIdle(t *testing.T) {
	l := up(t, lab.Options{})
	origin := must(l.Server.StartPages(t.Context(), hostPort(l.Server, "tcp4", 0)))(t)
	defer origin.Close()
	for _, h := range []*lab.Host{l.Client, l.Proxy} {
		check(t, h.Sysctl("net/ipv4/ip_local_port_range", "1024 65535")) // many are in TIME-WAIT from one time to the next
	}
	dir := t.TempDir()
	check(t, lab.WriteCertificate(dir, "web", l.Proxy.IPv4.String()))
	listen := hostPort(l.Proxy, "tcp4", 8080)
	plain := fmt.Sprintf(shared, listen, origin.Addr)
	encrypted := strings.Replace(strings.Replace(plain, "[http]", "[https, http]", 1), "{http:", fmt.Sprintf("{https: {certificate: %[1]s/web.crt, key: %[1]s/web.key}, http:", dir), 1)
	for _, tt := range []struct {
		name, configuration string
		client              *tls.Config
	}{
		{"http", plain, nil},
		{"https", encrypted, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}}, // many full handshakes would only take long
	} {
		t.Run(tt.name, func(t *testing.T) { stayOpen(t, l, tt.configuration, listen, tt.client, 500, 10_000) })
		t.Run(tt.name+", each with one to the server", func(t *testing.T) {
			// As many as 20,000 descriptors, which a process may often have, are for.
			stayOpen(t, l, strings.Replace(tt.configuration, "share: true, ", "", 1), listen, tt.client, 200, 9_900)
		})
	}
}

// stayOpen opens n connections, many in a run that was asked for, by TLS where cfg is
// set, which stay idle after one request, twice.
func stayOpen(t *testing.T, l *lab.Lab, configuration, listen string, cfg *tls.Config, n, many int) {
	t.Helper()
	if soak(t) > 0 {
		n = many
	}
	d := start(t, l, configuration)
	ask := func(c net.Conn) {
		t.Helper()
		check(t, c.SetDeadline(time.Now().Add(patience)))
		must(io.WriteString(c, "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n"))(t)
		r := must(http.ReadResponse(bufio.NewReader(c), nil))(t)
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
			t.Fatalf("status %d, %v", r.StatusCode, err)
		}
	}
	round := func() (descriptors, memory int) {
		t.Helper()
		open := make([]net.Conn, n)
		for i := range open {
			open[i] = must(l.Client.Dial(t.Context(), "tcp", listen))(t)
			defer open[i].Close()
			if cfg != nil {
				open[i] = tls.Client(open[i], cfg)
			}
			ask(open[i])
		}
		if got := d.instances(t)[0].Connections; got != n {
			t.Errorf("%d connections are open, want %d", got, n)
		}
		descriptors, memory = d.usage(t)
		ask(open[0])
		return descriptors, memory
	}
	over := func() (descriptors, memory int) {
		t.Helper()
		eventually(t, "all connections end", func() (bool, string) {
			open := d.instances(t)[0].Connections
			return open == 0, fmt.Sprintf("%d are open", open)
		})
		return d.usage(t)
	}
	_, memory := d.usage(t)
	descriptors, full := round()
	kept, _ := over()
	_, again := round()
	after, _ := over()
	t.Logf("%d connections: %d descriptors, %.1f kB of memory each", n, descriptors, float64(full-memory)/float64(n))
	if after > kept+2 {
		t.Errorf("%d descriptors after the second time, %d after the first", after, kept)
	}
	if soak(t) > 0 && again > full*5/4 {
		t.Errorf("%d kB of memory the second time, %d the first", again, full)
	}
}

// TestHTTPVolume: bodies of 4 GB pass both ways, in a run that was asked for.
func TestHTTPVolume(t *testing.T) {
	if soak(t) == 0 {
		t.Skip("PROMETHOS_SOAK is not set")
	}
	const size = 4 << 30
	l := up(t, lab.Options{})
	server := web(t, l.Server)
	listen := hostPort(l.Proxy, "tcp4", 8080)
	d := start(t, l, fmt.Sprintf(strings.Replace(shared, "share: true", fmt.Sprintf("max_body: %d", size), 1), listen, hostPort(l.Server, "tcp4", port(t, server.Addr))))
	_, before := d.usage(t)
	if got, err := l.Client.Download(t.Context(), at(listen).DataURL(size, 5)); err != nil || got.Bytes != size {
		t.Errorf("download: got %+v, %v", got, err)
	}
	if got, err := l.Client.Upload(t.Context(), at(listen).UploadURL(), size, 6); err != nil || got.Bytes != size {
		t.Errorf("upload: got %+v, %v", got, err)
	}
	if _, after := d.usage(t); after > 2*before {
		t.Errorf("%d kB of memory, %d before", after, before)
	}
}

// TestHTTPLoad: wrk runs for as long as PROMETHOS_SOAK says against http on a
// listener, http in front of the server's own address, and https: each request is
// answered, and descriptors and memory stay what they are after five seconds.
func TestHTTPLoad(t *testing.T) {
	long := soak(t)
	if long == 0 {
		t.Skip("PROMETHOS_SOAK is not set")
	}
	need(t, "wrk")
	l := up(t, lab.Options{})
	origin := must(l.Server.StartPages(t.Context(), hostPort(l.Server, "tcp4", 0)))(t)
	defer origin.Close()
	dir := t.TempDir()
	check(t, lab.WriteCertificate(dir, "web", l.Proxy.IPv4.String()))
	plain, encrypted := hostPort(l.Proxy, "tcp4", 8080), hostPort(l.Proxy, "tcp4", 8443)
	entries := func(configuration, name string) string {
		return strings.Replace(strings.SplitAfter(configuration, "instances:\n")[1], "name: ", "name: "+name, 1)
	}
	d := start(t, l, fmt.Sprintf(front, plain, origin.Addr, "repair")+
		entries(fmt.Sprintf(secure, encrypted, origin.Addr, dir, "http"), "encrypted-")+
		entries(ended(l.Server, port(t, origin.Addr), "http", ""), "transparent-"))
	load := func(length time.Duration) {
		t.Helper()
		var all sync.WaitGroup
		for _, url := range []string{"http://" + plain, "http://" + origin.Addr, "https://" + encrypted} {
			all.Go(func() {
				var out strings.Builder
				c := l.Client.Command(t.Context(), "wrk", "-t1", "-c32", "-d"+fmt.Sprint(int(length.Seconds()))+"s", "--timeout", "30s", "--latency", url+"/")
				c.Stdout = &out
				if err := c.Run(); err != nil || strings.Contains(out.String(), "Non-2xx") || strings.Contains(out.String(), "Socket errors") || !strings.Contains(out.String(), "99%") {
					t.Errorf("not every request was answered: %v", err)
				}
				t.Log(out.String())
			})
		}
		all.Wait()
		eventually(t, "all connections end", func() (bool, string) {
			open := 0
			for _, i := range d.instances(t)[:2] { // the table of the third keeps those in TIME-WAIT
				open += i.Connections
			}
			return open == 0, fmt.Sprintf("%d are open", open)
		})
	}
	load(5 * time.Second)
	descriptors, memory := d.usage(t)
	load(long)
	after, used := d.usage(t)
	t.Logf("%d descriptors and %d kB of memory, after five seconds %d and %d", after, used, descriptors, memory)
	if after > descriptors+2 || used > memory*5/4 {
		t.Error("they are more")
	}
	for _, r := range d.reasons(t) {
		if r.Action == "drop" {
			t.Errorf("refused of wrk: %+v", r)
		}
	}
}

// TestHTTPBrowser: a browser loads a page with 100 objects through http, https, and
// from the server's own address, where it knows of no proxy.
func TestHTTPBrowser(t *testing.T) {
	need(t, "chromium")
	l := up(t, lab.Options{})
	const objects = 100
	var page strings.Builder
	page.WriteString("<!doctype html><title>0</title><script>var n = 0; function loaded() { document.title = ++n }</script>")
	for i := range objects {
		fmt.Fprintf(&page, "<img src='/%d.svg' onload='loaded()'>", i)
	}
	var mu sync.Mutex
	asked := map[string]bool{}
	web := must(l.Server.Listen(t.Context(), "tcp", hostPort(l.Server, "tcp4", 0)))(t)
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path] = true
		mu.Unlock()
		switch {
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page.String()) // the browser judges
		case strings.HasSuffix(r.URL.Path, ".svg"):
			w.Header().Set("Content-Type", "image/svg+xml")
			_, _ = io.WriteString(w, "<svg xmlns='http://www.w3.org/2000/svg' width='2' height='2'><rect width='2' height='2'/></svg>")
		default:
			http.NotFound(w, r)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(web) }()
	defer func() {
		check(t, server.Close())
		<-served
	}()
	dir := t.TempDir()
	check(t, lab.WriteCertificate(dir, "web", l.Proxy.IPv4.String()))
	plain, encrypted := hostPort(l.Proxy, "tcp4", 8080), hostPort(l.Proxy, "tcp4", 8443)
	upstream := web.Addr().String()
	second := strings.SplitAfter(fmt.Sprintf(secure, encrypted, upstream, dir, "http"), "instances:\n")[1]
	third := strings.SplitAfter(ended(l.Server, port(t, upstream), "http", ""), "instances:\n")[1]
	d := start(t, l, fmt.Sprintf(strings.Replace(shared, "share: true, ", "", 1), plain, upstream)+strings.Replace(second, "name: front", "name: encrypted", 1)+third)
	for _, url := range []string{"http://" + plain + "/", "https://" + encrypted + "/", "http://" + upstream + "/"} {
		r := execute(t, l.Client, "env", "HOME="+filepath.Join(dir, "home"), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
			"--user-data-dir="+filepath.Join(dir, "profile"), "--virtual-time-budget=20000", "--dump-dom", url)
		if !strings.Contains(r.out, fmt.Sprintf("<title>%d</title>", objects)) {
			t.Errorf("%s: not all objects are loaded: %v", url, r)
		}
	}
	for _, i := range d.instances(t) {
		if i.Messages == nil || i.Messages[0].In <= objects {
			t.Errorf("%s: not all requests went through it: %+v", i.Name, i.Messages)
		}
	}
	if len(asked) < objects+1 {
		t.Errorf("the server was asked for %d paths", len(asked))
	}
	for _, r := range d.reasons(t) {
		// A browser that has all it wants closes connections whose handshake it has begun.
		if r.Action == "drop" && r.Reason != "https.handshake.malformed" {
			t.Errorf("refused of a browser: %+v", r)
		}
	}
	_ = os.RemoveAll(filepath.Join(dir, "profile")) // a browser's helpers may still write
}
