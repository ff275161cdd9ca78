package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/promethos/promethos/lab"
)

// dialogue asks the same on one connection again and again, as fast as the answers
// come, until it is told to end.
type dialogue struct {
	asked atomic.Int64
	end   atomic.Bool
	done  sync.WaitGroup
	err   error // behind done
}

// ask begins one; read gives an error for an answer that is none.
func ask(c net.Conn, request string, read func(*bufio.Reader) error) *dialogue {
	d := &dialogue{}
	d.done.Go(func() {
		r := bufio.NewReader(c)
		for !d.end.Load() {
			if _, d.err = io.WriteString(c, request); d.err != nil {
				return
			}
			if d.err = read(r); d.err != nil {
				return
			}
			d.asked.Add(1)
		}
	})
	return d
}

// registers reads the answer of plc to the request of two registers from 5 on.
func registers(r *bufio.Reader) error {
	got := make([]byte, 13)
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if want := []byte{0, 1, 0, 0, 0, 7, 1, 3, 4, 0, 5, 0, 6}; !bytes.Equal(got, want) {
		return fmt.Errorf("answer %x, want %x", got, want)
	}
	return nil
}

// page reads the answer of serve.
func page(r *bufio.Reader) error {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || string(body) != "ok" {
		return fmt.Errorf("%s %q, %v", res.Status, body, err)
	}
	return nil
}

// TestSessionReloads reloads a module of streams and one of messages again and again,
// while connections through both are asked as fast as they answer: each goes on from
// the first reload to the last, every answer is right, and memory stays flat.
func TestSessionReloads(t *testing.T) {
	times := 16
	if os.Getenv("PROMETHOS_SOAK") != "" {
		times = 1000
	}
	l := up(t, lab.Options{})
	modbus := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	t.Cleanup(func() { check(t, modbus.Close()) })
	go plc(modbus, make(chan byte, 1<<24))
	pages := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	t.Cleanup(func() { check(t, pages.Close()) })
	go serve(pages, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

	dir := t.TempDir()
	manifests := map[string]string{}
	for _, name := range []string{"modbus", "forms"} {
		guest(t, dir, name, "../examples/"+name+"/guest", "../examples/"+name+"/"+name+".json")
		manifests[name] = string(must(os.ReadFile(filepath.Join(dir, name+".json")))(t))
	}
	file := withModule(dir, "tcp, modbus, relay", port(t, modbus.Addr().String()), l) + "    modules: {modbus: {allow: [{function: 3}]}}\n"
	second := protect("forward", port(t, pages.Addr().String()), "", l.Server)
	second = strings.NewReplacer("name: web", "name: pages", "chain: [tcp]", "chain: [tcp, http, forms]").Replace(second[strings.Index(second, "  - name:"):])
	file += second + "    modules: {forms: {pages: [{path: /page, methods: [GET], fields: [{name: text, kind: text, max: 9}]}]}}\n"
	d := start(t, l, file)

	var dialogues []*dialogue
	for _, f := range families {
		c := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, port(t, modbus.Addr().String()))))(t)
		t.Cleanup(func() { c.Close() })
		dialogues = append(dialogues, ask(c, "\x00\x01\x00\x00\x00\x06\x01\x03\x00\x05\x00\x02", registers))
		c2 := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, port(t, pages.Addr().String()))))(t)
		t.Cleanup(func() { c2.Close() })
		dialogues = append(dialogues, ask(c2, "GET /page?text=hello HTTP/1.1\r\nHost: device.example\r\n\r\n", page))
	}
	going := func() {
		t.Helper()
		for i, a := range dialogues {
			before := a.asked.Load()
			eventually(t, fmt.Sprintf("answers of dialogue %d", i), func() (bool, string) {
				n := a.asked.Load()
				return n > before+10, fmt.Sprint(n)
			})
		}
	}
	going()
	var early int64
	for i := range times {
		for name, manifest := range manifests {
			at := strings.Index(manifest, `"version": "`) + len(`"version": "`)
			version := fmt.Sprintf("9.0.%d", i+1)
			describe(t, dir, name, manifest[:at]+version+manifest[at+strings.IndexByte(manifest[at:], '"'):])
			d.do(t, "module", "reload", name)
			if m := d.module(t, name); m.Version != version || m.Faults != 0 || m.State != "loaded" {
				t.Fatalf("after reload %d: %+v", i+1, m)
			}
		}
		if i == times/2 {
			early = d.memory(t)
		}
	}
	going()
	if late := d.memory(t); late > early+early/2 {
		t.Errorf("resident memory grew from %d to %d KiB in %d reloads", early, late, times-times/2)
	} else {
		t.Logf("resident memory after %d reloads %d KiB, after %d %d KiB", times/2, early, times, late)
	}
	for i, a := range dialogues {
		a.end.Store(true)
		a.done.Wait()
		if a.err != nil {
			t.Errorf("dialogue %d ended after %d answers: %v", i, a.asked.Load(), a.err)
		}
		t.Logf("dialogue %d: %d answers", i, a.asked.Load())
	}
	for _, reason := range []string{"wasm.fault", "wasm.restarting", "wasm.disabled", "chain.function-missing"} {
		if n := d.counted(t, reason); n > 0 {
			t.Errorf("%d dropped with %s", n, reason)
		}
	}
	d.accounted(t)
}

// serve answers each request of each connection with the same.
func serve(l net.Listener, answer string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line != "\r\n" {
					continue
				}
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
			}
		}()
	}
}
