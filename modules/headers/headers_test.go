package headers

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/ppf"
)

func TestFields(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: a.example\r\nAccept: x\r\nReferer: http://b.example/\r\nUser-Agent: u\r\n\r\n"
	const response = "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nETag: \"e\"\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name           string
		c              Config
		wantRequest    string
		wantResponse   string
		missRequest    string
		missedResponse string
	}{
		{"remove", Config{RemoveRequest: []string{"referer"}, RemoveResponse: []string{"x-a"}}, "Accept: x\r\n", "ETag: \"e\"\r\n", "Referer", "X-A"},
		{"set", Config{SetRequest: map[string]string{"Accept": "y"}, SetResponse: map[string]string{"X-A": "3"}}, "Accept: y\r\n", "X-A: 3\r\n", "Accept: x", "X-A: 2"},
		{"allow", Config{AllowRequest: []string{"Accept"}, AllowResponse: []string{"Date"}}, "Accept: x\r\n", "Date: ", "User-Agent", "ETag"},
		{"set what is not kept", Config{AllowRequest: []string{"Accept"}, SetRequest: map[string]string{"DNT": "1"}}, "DNT: 1\r\n", "X-A: 1\r\nX-A: 2\r\n", "Referer", "DNT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.c.Validate(); err != nil {
				t.Fatal(err)
			}
			e := http.NewExplainer(bound(t, &tt.c, nil))
			x, err := e.Request([]byte(request))
			if err != nil || !strings.Contains(string(x.Sent), tt.wantRequest) || strings.Contains(string(x.Sent), tt.missRequest) {
				t.Errorf("request: got %q, %v, want %q in it and not %q", x.Sent, err, tt.wantRequest, tt.missRequest)
			}
			x, err = e.Response(nil, []byte(response))
			if err != nil || !strings.Contains(string(x.Sent), tt.wantResponse) || strings.Contains(string(x.Sent), tt.missedResponse) {
				t.Errorf("response: got %q, %v, want %q in it and not %q", x.Sent, err, tt.wantResponse, tt.missedResponse)
			}
		})
	}
}

// bound makes the function ready.
func bound(t *testing.T, c *Config, data func(string) *ppf.Data) *function {
	t.Helper()
	f, err := newFunction(c, data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestData: fields whose names a data module has are removed, as it is at that
// moment; without it nothing passes.
func TestData(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: a.example\r\nReferer: x\r\nX-Forwarded-Host: y\r\nX-FORWARDED-HOST: z\r\nAccept: w\r\n\r\n"
	set := ppf.NewData(nil, []string{"x-forwarded-host", "referer"})
	data := func(name string) *ppf.Data {
		if name == "dangerous" {
			return set
		}
		return nil
	}
	c := &Config{RemoveRequest: []string{"@dangerous"}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	e := http.NewExplainer(bound(t, c, data))
	ask := func() string {
		t.Helper()
		x, err := e.Request([]byte(request))
		if err != nil {
			t.Fatal(err)
		}
		return string(x.Sent)
	}
	if got := ask(); strings.Contains(strings.ToLower(got), "forwarded-host") || strings.Contains(got, "Referer") || !strings.Contains(got, "Accept: w\r\n") {
		t.Errorf("sent %q", got)
	}
	set = ppf.NewData(nil, []string{"accept"}) // it was reloaded
	if got := ask(); !strings.Contains(got, "Referer") || strings.Contains(got, "Accept") {
		t.Errorf("after a reload: sent %q", got)
	}
	set = nil
	if got := ask(); got != "" {
		t.Errorf("without the set: sent %q", got)
	}
	if _, err := newFunction(&Config{RemoveResponse: []string{"@other"}}, data); err == nil || !strings.Contains(err.Error(), "@other: no data module of that name") {
		t.Errorf("a set that is not there: %v", err)
	}
	if err := (&Config{AllowRequest: []string{"@dangerous"}}).Validate(); err == nil {
		t.Error("a set of fields to keep is accepted")
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"framing", Config{SetRequest: map[string]string{"Content-Length": "5"}}, "set_request: field Content-Length"},
		{"connection", Config{RemoveResponse: []string{"Connection"}}, "remove_response: field Connection"},
		{"line end", Config{SetResponse: map[string]string{"X-A": "a\r\nb"}}, "control character"},
		{"no name", Config{AllowRequest: []string{"a b"}}, "allow_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
		})
	}
}
