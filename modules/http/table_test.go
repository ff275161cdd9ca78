package http

import (
	"bufio"
	"fmt"
	"io"
	nethttp "net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// tableCase is one case of a table in testdata.
type tableCase struct {
	name, mode, want, settings, request string
	line                                int
	sent, got                           string
	hasGot                              bool
}

// readTable reads a table; its first lines say how it is written.
func readTable(t testing.TB, file string) []tableCase {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []tableCase
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			list = append(list, tableCase{name: name, line: n})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		c := &list[len(list)-1]
		switch key, value, _ := strings.Cut(line, " "); key {
		case "mode:":
			c.mode = value
		case "want:":
			c.want = value
		case "request:":
			c.request = value
		case "settings:":
			c.settings = value
		case ">":
			c.sent += unescape(t, value)
		case "<":
			c.got += unescape(t, value)
			c.hasGot = true
		default:
			t.Fatalf("%s:%d: %q is no line of a case", file, n, line)
		}
	}
	return list
}

func unescape(t testing.TB, line string) string {
	end := "\r\n"
	if strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) {
		line, end = strings.TrimSuffix(line, `\`), ""
	}
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return s + end
}

func (c *tableCase) modeOf(t testing.TB) ppf.Mode {
	switch c.mode {
	case "":
		return ppf.Repair
	case "strict":
		return ppf.Strict
	case "monitor":
		return ppf.Monitor
	}
	t.Fatalf("%s: no mode %q", c.name, c.mode)
	return 0
}

// configure applies "key=value key=value".
func (c *tableCase) configure(t testing.TB) func(*Config) {
	return func(cfg *Config) {
		v := ppf.Value{Kind: ppf.ValueMap}
		for word := range strings.FieldsSeq(c.settings) {
			key, value, _ := strings.Cut(word, "=")
			v.Map = append(v.Map, ppf.KeyValue{Key: key, Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: value}})
		}
		if err := ppf.DecodeSettings(cfg, v, c.name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRequests sends each request of the table to the listener, at once and
// octet by octet. Of a refused one nothing reaches the origin.
func TestRequests(t *testing.T) {
	table := readTable(t, "testdata/requests.txt")
	if len(table) < 150 {
		t.Fatalf("the table has %d cases", len(table))
	}
	for _, c := range table {
		for _, size := range []int{0, 1} {
			if size == 1 && len(c.sent) > 2000 {
				continue // the limits do not depend on it
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				r := newRig(t, c.modeOf(t), c.configure(t))
				response := r.send(c.sent, size)
				code, reason, _ := strings.Cut(c.want, " ")
				if code != "100" { // a client that waits is told to go on
					response = strings.TrimPrefix(response, "HTTP/1.1 100 Continue\r\n\r\n")
				}
				if got := strconv.Itoa(statusOf(response)); got != code {
					t.Errorf("line %d: %q: got status %s, want %s, %v %v", c.line, c.sent, got, code, r.reasons, r.reports)
				}
				if reason != "" {
					if r.count(reason) != 1 {
						t.Errorf("line %d: %q: got reasons %v, want %s", c.line, c.sent, r.reasons, reason)
					}
					if r.opened != 0 || r.received() != "" {
						t.Errorf("line %d: %q: the origin got %q", c.line, c.sent, r.received())
					}
					if !strings.Contains(response, "Connection: close\r\n") {
						t.Errorf("line %d: the answer does not end the connection: %q", c.line, response)
					}
				}
				if code == "405" && !strings.Contains(response, "\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n") {
					t.Errorf("line %d: a 405 does not say what is allowed: %q", c.line, response)
				}
				if c.hasGot && r.received() != c.got {
					t.Errorf("line %d: %q: the origin got %q, want %q", c.line, c.sent, r.received(), c.got)
				}
			})
		}
	}
}

// requestsOf are the requests that a case of the responses can name.
var requestsOf = map[string]string{
	"":     "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
	"HEAD": "HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n",
	"1.0":  "GET / HTTP/1.0\r\n\r\n",
	"1.0k": "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
}

// TestResponses lets the origin answer with each response of the table, at once
// and octet by octet, and compares what the client gets.
func TestResponses(t *testing.T) {
	table := readTable(t, "testdata/responses.txt")
	if len(table) < 60 {
		t.Fatalf("the table has %d cases", len(table))
	}
	for _, c := range table {
		for _, size := range []int{0, 1} {
			bodiless := c.request == "HEAD" || strings.HasPrefix(c.sent, "HTTP/1.1 204") || strings.HasPrefix(c.sent, "HTTP/1.1 304")
			if size == 1 && (len(c.sent) > 2000 || strings.Contains(c.want, "surplus") || bodiless) {
				continue // here it matters what is seen together
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				r := newRig(t, c.modeOf(t), c.configure(t))
				r.answers(c.sent, size)
				response := r.send(requestsOf[c.request], 0)
				code, reason, _ := strings.Cut(c.want, " ")
				switch {
				case code == "0":
					if statusOf(response) != 502 && complete(response) {
						t.Errorf("line %d: %q: the client got what looks complete: %q", c.line, c.sent, response)
					}
				case strconv.Itoa(statusOf(response)) != code:
					t.Errorf("line %d: %q: the client got %q, want status %s; %v %v", c.line, c.sent, response, code, r.reasons, r.reports)
				}
				if reason != "" && r.count(reason) == 0 || reason == "" && strings.Contains(fmt.Sprint(r.reasons), "http.response.") {
					t.Errorf("line %d: %q: got reasons %v, want %q", c.line, c.sent, r.reasons, reason)
				}
				if c.hasGot && size == 0 && response != c.got {
					t.Errorf("line %d: %q: the client got %q, want %q", c.line, c.sent, response, c.got)
				}
			})
		}
	}
}

// complete says whether a client takes a response for whole.
func complete(response string) bool {
	res, err := nethttp.ReadResponse(bufio.NewReader(strings.NewReader(response)), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil
}
