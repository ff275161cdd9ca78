package urlrewrite

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/modules/http"
)

// ethz is the example of thesis 4.3.
func ethz() Config {
	return Config{Rules: []Rule{{Host: "www.ethz.ch", ToHost: "www.web.ethz.ch"}}, Bodies: true, MaxBody: 1 << 20}
}

func shop() Config {
	return Config{Rules: []Rule{{Path: "/shop", ToPath: "/cgi-bin/shop.pl"}}}
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		name, host, target string
		c                  Config
		wantHost, wantLine string
	}{
		{"thesis", "www.ethz.ch", "/a?b", ethz(), "www.web.ethz.ch", "/a?b"},
		{"thesis with port", "www.ethz.ch:8080", "/", ethz(), "www.web.ethz.ch:8080", "/"},
		{"another host", "www.epfl.example", "/", ethz(), "www.epfl.example", "/"},
		{"path", "a.example", "/shop/cart?x=1", shop(), "a.example", "/cgi-bin/shop.pl/cart?x=1"},
		{"path alone", "a.example", "/shop", shop(), "a.example", "/cgi-bin/shop.pl"},
		{"not a whole segment", "a.example", "/shopping", shop(), "a.example", "/shopping"},
		{"encoded", "a.example", "/%73hop/x", shop(), "a.example", "/cgi-bin/shop.pl/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := http.NewExplainer(&function{tt.c}).Request([]byte("GET " + tt.target + " HTTP/1.1\r\nHost: " + tt.host + "\r\nAccept-Encoding: gzip\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if want := "GET " + tt.wantLine + " HTTP/1.1\r\nHost: " + tt.wantHost + "\r\n"; !strings.HasPrefix(string(x.Sent), want) {
				t.Errorf("got %q, want %q", x.Sent, want)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	for _, tt := range []struct {
		name, host    string
		c             Config
		field         string
		received, now string
	}{
		{"location", "www.ethz.ch", ethz(), "Location", "http://www.web.ethz.ch/x?y#z", "http://www.ethz.ch/x?y#z"},
		{"location with port", "www.ethz.ch:8080", ethz(), "Location", "http://WWW.web.ethz.ch:8080/", "http://www.ethz.ch:8080/"},
		{"location without path", "www.ethz.ch", ethz(), "Location", "https://www.web.ethz.ch", "https://www.ethz.ch"},
		{"location without scheme", "www.ethz.ch", ethz(), "Location", "//www.web.ethz.ch/x", "//www.ethz.ch/x"},
		{"location of another", "www.ethz.ch", ethz(), "Location", "http://www.web.ethz.ch.evil.example/", "http://www.web.ethz.ch.evil.example/"},
		{"location of another that looks so", "www.ethz.ch", ethz(), "Location", "http://a.example/?u=http://www.web.ethz.ch/", "http://a.example/?u=http://www.web.ethz.ch/"},
		{"relative location", "a.example", shop(), "Location", "/cgi-bin/shop.pl/cart", "/shop/cart"},
		{"absolute location of the path", "a.example", shop(), "Location", "http://a.example/cgi-bin/shop.pl?x", "http://a.example/shop?x"},
		{"content-location", "a.example", shop(), "Content-Location", "/cgi-bin/shop.pl", "/shop"},
		{"link", "www.ethz.ch", ethz(), "Link", "<http://www.web.ethz.ch/a>; rel=next, <http://b.example/>; rel=up", "<http://www.ethz.ch/a>; rel=next, <http://b.example/>; rel=up"},
		{"refresh", "www.ethz.ch", ethz(), "Refresh", "5; URL=http://www.web.ethz.ch/", "5; URL=http://www.ethz.ch/"},
		{"refresh with quotes", "www.ethz.ch", ethz(), "Refresh", "5; url='http://www.web.ethz.ch/'", "5; url='http://www.ethz.ch/'"},
		{"cookie domain", "www.ethz.ch", ethz(), "Set-Cookie", "a=b; Domain=www.web.ethz.ch; Secure", "a=b; Domain=www.ethz.ch; Secure"},
		{"cookie domain above", "www.ethz.ch", ethz(), "Set-Cookie", "a=b; domain=.web.ethz.ch", "a=b; Domain=www.ethz.ch"},
		{"cookie domain of both", "www.ethz.ch", ethz(), "Set-Cookie", "a=b; Domain=ethz.ch", "a=b; Domain=ethz.ch"},
		{"cookie path", "a.example", shop(), "Set-Cookie", "a=b; Path=/cgi-bin/shop.pl", "a=b; Path=/shop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := http.NewExplainer(&function{tt.c})
			x, err := e.Response([]byte("GET / HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n"),
				[]byte("HTTP/1.1 302 Found\r\n"+tt.field+": "+tt.received+"\r\nContent-Length: 0\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if want := "\r\n" + tt.field + ": " + tt.now + "\r\n"; !strings.Contains(string(x.Sent), want) {
				t.Errorf("got %q, want %q", x.Sent, want)
			}
		})
	}
}

func TestBody(t *testing.T) {
	for _, tt := range []struct{ name, kind, body, want string }{
		{"html", "text/html; charset=utf-8", `<a href="http://www.web.ethz.ch/x">//www.web.ethz.ch</a>`, `<a href="http://www.ethz.ch/x">//www.ethz.ch</a>`},
		{"json", "application/json", `{"u":"http:\/\/www.web.ethz.ch\/"}`, `{"u":"http:\/\/www.ethz.ch\/"}`},
		{"another host", "text/html", `//www.web.ethz.chx //www.web.ethz.ch.a //www.web.ethz.ch`, `//www.web.ethz.chx //www.web.ethz.ch.a //www.ethz.ch`},
		{"another type", "image/png", `//www.web.ethz.ch`, `//www.web.ethz.ch`},
	} {
		for _, framing := range []string{"length", "chunked"} {
			t.Run(tt.name+"/"+framing, func(t *testing.T) {
				raw := "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Type: " + tt.kind + "\r\nTransfer-Encoding: chunked\r\n\r\n"
				for i := range tt.body {
					raw += "1\r\n" + tt.body[i:i+1] + "\r\n"
				}
				raw += "0\r\n\r\n"
				if framing == "length" {
					raw = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Type: " + tt.kind + "\r\n\r\n" + tt.body
				}
				x, err := http.NewExplainer(&function{ethz()}).Response([]byte("GET / HTTP/1.0\r\nHost: www.ethz.ch\r\n\r\n"), []byte(raw))
				if err != nil {
					t.Fatal(err)
				}
				if _, body, _ := strings.Cut(string(x.Sent), "\r\n\r\n"); body != tt.want {
					t.Errorf("got %q, want %q", body, tt.want)
				}
				if has := strings.Contains(string(x.Sent), "ETag"); has != (tt.body == tt.want) {
					t.Errorf("the validator is there: %v, in %q", has, x.Sent)
				}
			})
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		rule Rule
		want string
	}{
		{Rule{Host: "WWW.a.example", ToHost: "b.example"}, "host"},
		{Rule{Host: "a.example", ToHost: "b.example/x"}, "to_host"},
		{Rule{Path: "shop", ToPath: "/x"}, "path"},
		{Rule{Path: "/shop", ToPath: "/x/../y"}, "to_path"},
		{Rule{Path: "/a"}, "to_host"},
		{Rule{ToPath: "/a"}, "host"},
		{Rule{Path: "/a", ToHost: "b.example"}, "host"},
	} {
		c := Config{Rules: []Rule{tt.rule}}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "rules[0]."+tt.want+":") {
			t.Errorf("%+v: got %v, want a problem of %s", tt.rule, err, tt.want)
		}
	}
}

// TestResponseAllocs: a response that names no URL costs no memory.
func TestResponseAllocs(t *testing.T) {
	f := &function{shop()}
	x := &http.Exchange{Response: &http.Response{}}
	if err := x.Response.Set("Content-Type", "text/html"); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { f.Response(x) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
