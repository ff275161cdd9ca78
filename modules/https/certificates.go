package https

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/ppf"
)

// checkEvery is how often files are looked at while clients come.
const checkEvery = int64(time.Second)

// store holds what an instance reads of files, and reads them again when they have
// changed. A file that cannot be used leaves what was read before in place.
type store struct {
	env ppf.Env
	say func(format string, args ...any)

	checked atomic.Int64
	state   atomic.Pointer[material]

	mu      sync.Mutex // of who reads
	pairs   []*watched[*certificate]
	clients *watched[*x509.CertPool] // authorities of client certificates; nil: none are wanted
	servers *watched[*x509.CertPool] // those of servers; nil: the system's
}

// material is what was read last. It does not change.
type material struct {
	certs            []*tls.Certificate
	clients, servers *x509.CertPool
}

// certificate is a certificate with what is stapled to it.
type certificate struct {
	tls.Certificate
	staple staple
}

// newStore reads all files.
func newStore(cfg *Config, env ppf.Env, say func(string, ...any)) (*store, error) {
	s := &store{env: env, say: say}
	for _, p := range cfg.pairs() {
		s.pairs = append(s.pairs, &watched[*certificate]{load: p.load, parse: func(data [][]byte) (*certificate, error) { return s.parse(p, data) }})
	}
	if cfg.ClientCA != "" {
		s.clients = authorities("client_ca", cfg.ClientCA)
	}
	if cfg.Upstream == "tls" && cfg.UpstreamTLS.CA != "" {
		s.servers = authorities("upstream_tls.ca", cfg.UpstreamTLS.CA)
	}
	s.checked.Store(env.Now())
	for _, p := range s.pairs {
		if _, err := p.renew(); err != nil {
			return nil, err
		}
	}
	for _, w := range []*watched[*x509.CertPool]{s.clients, s.servers} {
		if w == nil {
			continue
		}
		if _, err := w.renew(); err != nil {
			return nil, err
		}
	}
	s.publish()
	return s, nil
}

// authorities are the certificates in a PEM file; setting is who names it.
func authorities(setting, name string) *watched[*x509.CertPool] {
	return &watched[*x509.CertPool]{
		load: func() ([][]byte, error) {
			b, err := readFile(name)
			if err != nil {
				err = fmt.Errorf("%s: %w", setting, err)
			}
			return [][]byte{b}, err
		},
		parse: func(data [][]byte) (*x509.CertPool, error) {
			p := x509.NewCertPool()
			if !p.AppendCertsFromPEM(data[0]) {
				return nil, fmt.Errorf("%s: %s: no certificate is in it (write PEM)", setting, name)
			}
			return p, nil
		},
	}
}

// load reads the files of a certificate; their order is that of parse.
func (p Pair) load() ([][]byte, error) {
	cert, err := readFile(p.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := readKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if p.OCSP == "" {
		return [][]byte{cert, key}, nil
	}
	response, err := readFile(p.OCSP)
	if err != nil {
		return nil, fmt.Errorf("ocsp: %w", err)
	}
	return [][]byte{cert, key, response}, nil
}

// parse makes a certificate of what load has read. What clients will refuse is
// told: a certificate out of its time is shown nevertheless, a response of OCSP is not.
func (s *store) parse(p Pair, data [][]byte) (*certificate, error) {
	pair, err := tls.X509KeyPair(data[0], data[1])
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", p.Certificate, err)
	}
	c := &certificate{Certificate: pair}
	now := time.Unix(0, ppf.Wall(s.env))
	if now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
		s.say("certificate %s is good from %v to %v, and clients refuse it now", p.Certificate, c.Leaf.NotBefore, c.Leaf.NotAfter)
	}
	if p.OCSP == "" {
		return c, nil
	}
	staple, unsuitable, err := parseStaple(data[2], c.Leaf)
	if err != nil {
		return nil, fmt.Errorf("ocsp %s: %w", p.OCSP, err)
	}
	if unsuitable == nil {
		c.staple, unsuitable = staple, staple.untimely(now)
	}
	if unsuitable != nil {
		s.say("ocsp %s is not stapled: %v", p.OCSP, unsuitable)
		return c, nil
	}
	c.OCSPStaple = staple.der
	return c, nil
}

// timed gives the certificate with its response of OCSP where that is good now, and
// without it otherwise. Time may go back too, where a clock is set.
func (s *store) timed(c *certificate, now time.Time) *certificate {
	untimely := c.staple.untimely(now)
	if len(c.staple.der) == 0 || (untimely == nil) == (c.OCSPStaple != nil) {
		return c
	}
	other := *c // handshakes have the one before
	if other.OCSPStaple = c.staple.der; untimely != nil {
		other.OCSPStaple = nil
		s.say("the response of OCSP about %v is stapled no more: %v", c.Leaf.Subject, untimely)
	} else {
		s.say("the response of OCSP about %v is good now, and is stapled", c.Leaf.Subject)
	}
	return &other
}

// current gives what the files hold; they are looked at once a second. One
// client does that, and others do not wait for it.
func (s *store) current() *material {
	now := s.env.Now()
	if now-s.checked.Load() >= checkEvery && s.mu.TryLock() {
		defer s.mu.Unlock()
		s.checked.Store(now)
		if s.renew() {
			s.publish()
		}
	}
	return s.state.Load()
}

// renew reads what has changed; mu is held.
func (s *store) renew() (changed bool) {
	note := func(name string, one bool, err error) {
		switch changed = changed || one; {
		case err != nil:
			s.say("%v; what was read before stays", err)
		case one:
			s.say("%s was read again", name)
		}
	}
	now := time.Unix(0, ppf.Wall(s.env))
	for _, p := range s.pairs {
		one, err := p.renew()
		note("the certificate of "+p.value.Leaf.Subject.String(), one, err)
		if c := s.timed(p.value, now); c != p.value {
			p.value, changed = c, true
		}
	}
	if s.clients != nil {
		one, err := s.clients.renew()
		note("client_ca", one, err)
	}
	if s.servers != nil {
		one, err := s.servers.renew()
		note("upstream_tls.ca", one, err)
	}
	return changed
}

// publish makes what was read hold for the next handshakes; mu is held, or nobody
// else knows the store.
func (s *store) publish() {
	m := &material{}
	for _, p := range s.pairs {
		m.certs = append(m.certs, &p.value.Certificate)
	}
	if s.clients != nil {
		m.clients = s.clients.value
	}
	if s.servers != nil {
		m.servers = s.servers.value
	}
	s.state.Store(m)
}

// choose finds the certificate for a client: those of its name, or where it has none
// or first is set all, and of these the first that the client can use. None: nil.
func (m *material) choose(hello *tls.ClientHelloInfo, first bool) *tls.Certificate {
	list := m.certs
	if hello.ServerName != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(c *tls.Certificate) bool { return c.Leaf.VerifyHostname(hello.ServerName) != nil })
		if len(list) == 0 && first {
			list = m.certs
		}
	}
	if len(list) == 0 {
		return nil // no name of ours, or a chain that passes names through and ends no TLS
	}
	whoever := *hello // the name was looked at
	whoever.ServerName = ""
	for _, c := range list {
		if whoever.SupportsCertificate(c) == nil {
			return c
		}
	}
	return list[0]
}
