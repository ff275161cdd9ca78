package https

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/promethos/promethos/ppf"
)

// checkEvery is how often files are looked at while clients come.
const checkEvery = int64(time.Second)

// store holds the certificates of an instance and reads their files again when
// they have changed. A file that cannot be used leaves the old one in place.
type store struct {
	env   ppf.Env
	say   func(format string, args ...any)
	pairs []Pair

	mu      sync.Mutex
	checked int64
	seen    []string // what the files of a pair looked like when they were read
	failed  []string // likewise, when they were no good
	certs   []*tls.Certificate
}

// newStore reads all files.
func newStore(pairs []Pair, env ppf.Env, say func(string, ...any)) (*store, error) {
	s := &store{env: env, say: say, pairs: pairs, checked: env.Now(),
		seen: make([]string, len(pairs)), failed: make([]string, len(pairs)), certs: make([]*tls.Certificate, len(pairs))}
	for i, p := range pairs {
		s.seen[i] = p.look()
		c, err := p.read()
		if err != nil {
			return nil, err
		}
		s.certs[i] = c
	}
	return s, nil
}

// look tells files that have changed from those that have not.
func (p Pair) look() (text string) {
	for _, name := range []string{p.Certificate, p.Key, p.OCSP} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			text += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Mode(), " ")
		} else {
			text += "- "
		}
	}
	return text
}

func (p Pair) read() (*tls.Certificate, error) {
	info, err := os.Stat(p.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("key %s: everybody may use it, mode %v (chmod 600 it, and think of a new key)", p.Key, info.Mode().Perm())
	}
	c, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", p.Certificate, err)
	}
	if p.OCSP != "" {
		if c.OCSPStaple, err = os.ReadFile(p.OCSP); err != nil {
			return nil, fmt.Errorf("ocsp: %w", err)
		}
	}
	return &c, nil
}

// current gives the certificates, read anew where the files have changed.
func (s *store) current() []*tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now()
	if now-s.checked < checkEvery {
		return s.certs
	}
	s.checked = now
	next := append([]*tls.Certificate(nil), s.certs...)
	for i, p := range s.pairs {
		look := p.look()
		if look == s.seen[i] || look == s.failed[i] {
			continue
		}
		c, err := p.read()
		if err != nil {
			s.failed[i] = look
			s.say("%v; the one that was read before stays", err)
			continue
		}
		next[i], s.seen[i], s.failed[i] = c, look, ""
		s.say("certificate %s was read again", p.Certificate)
	}
	s.certs = next
	return s.certs
}

// choose finds the certificate for a client: that of its name, or the first.
// Of several for one name it is the first that the client can use. None: nil.
func (s *store) choose(hello *tls.ClientHelloInfo, first bool) *tls.Certificate {
	list := s.current()
	if hello.ServerName != "" {
		var named *tls.Certificate
		for _, c := range list {
			if c.Leaf.VerifyHostname(hello.ServerName) != nil {
				continue
			}
			if hello.SupportsCertificate(c) == nil {
				return c
			}
			if named == nil {
				named = c
			}
		}
		if named != nil || !first {
			return named
		}
	}
	if len(list) == 0 {
		return nil // a chain that passes names through and ends no TLS
	}
	return list[0]
}

// pool reads authorities.
func pool(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: no certificate is in it (write PEM)", name)
	}
	return p, nil
}
