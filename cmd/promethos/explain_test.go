package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/modules/http"
)

const explainConfig = `version: 1
instances:
  - name: loose
    source: listen
    listen: 127.0.0.1:0
    upstream: 192.0.2.1:80
    chain: [http]
    reasons: {http.head.bare-lf: repair}
    modules: {http: {methods: [PROPFIND]}}
  - name: tight
    source: listen
    listen: 127.0.0.1:0
    upstream: 192.0.2.1:80
    chain: [http]
    mode: strict
`

func TestExplain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	if err := os.WriteFile(file, []byte(explainConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	const lf = "PROPFIND / HTTP/1.1\nHost: a\n\n"
	for _, tt := range []struct {
		name, raw string
		o         explainOptions
		status    int
		want      []string
	}{
		{"sent", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", explainOptions{}, exitDone, []string{"verdict: sent", `  GET /x HTTP/1.1\r\n`}},
		{"refused", lf, explainOptions{}, exitFailed, []string{"verdict: refused", "http.head.bare-lf at octet 19", "RFC 9112 §2.2", "setting: reasons: {http.head.bare-lf: repair}", "sent: nothing"}},
		{"method", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", explainOptions{}, exitFailed, []string{"methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PURGE]"}},
		{"field", "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 1\r\n\r\n", explainOptions{}, exitDone, []string{"field X-Real-IP", "fields: [X-Real-IP]"}},
		{"of the first instance", lf, explainOptions{path: file}, exitDone, []string{"verdict: repaired", "repaired: http.head.bare-lf", `  PROPFIND / HTTP/1.1\r\n`}},
		{"of another", lf, explainOptions{path: file, instance: "tight"}, exitFailed, []string{"http.head.bare-lf"}},
		{"two requests", "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: a\r\n\r\n", explainOptions{}, exitDone, []string{`  POST /a HTTP/1.1\r\n`, "28 octets are behind it", `  GET /b HTTP/1.1\r\n`}},
		{"a second one that is refused", "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c", explainOptions{}, exitFailed, []string{`  GET /a HTTP/1.1\r\n`, "refused: http.host.missing"}},
		{"nothing", "", explainOptions{}, exitUsage, nil},
		{"of none", lf, explainOptions{path: file, instance: "none"}, exitUsage, nil},
		{"response", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", explainOptions{response: true}, exitDone, []string{"http.response.blank-before-colon", `  Content-Length: 2\r\n`}},
		{"response in strict", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", explainOptions{response: true, path: file, instance: "tight"}, exitFailed, []string{"verdict: refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := runExplain(&global{}, tt.o, strings.NewReader(tt.raw), &out)
			status := exitDone
			var silent silentError
			var usage usageError
			switch {
			case errors.As(err, &silent):
				status = silent.status
			case errors.As(err, &usage):
				status = exitUsage
			case err != nil:
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("status %d, want %d: %v\n%s", status, tt.status, err, out.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
		})
	}
	var out bytes.Buffer
	if err := runExplain(&global{json: true}, explainOptions{}, strings.NewReader(lf), &out); !errors.As(err, new(silentError)) {
		t.Errorf("got %v, want status 1", err)
	}
	var x http.Explanation
	if err := json.Unmarshal(out.Bytes(), &x); err != nil || x.Verdict != "refused" || x.Findings[0].Offset != 19 {
		t.Errorf("got %+v, %v from %s", x, err, out.String())
	}
}
