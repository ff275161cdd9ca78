package https

import (
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Config holds the settings of the user function https. Files are named as from
// the daemon's working directory.
type Config struct {
	// Certificate and Key are PEM files: the certificate with its chain, and the
	// private key. OCSP is a DER file with a response that is stapled.
	Certificate string `conf:"certificate"`
	Key         string `conf:"key"`
	OCSP        string `conf:"ocsp"`
	// Certificates are further ones; the client's name (SNI) chooses.
	Certificates []Pair `conf:"certificates"`
	// UnknownName says what becomes of a client that names a host of which no
	// certificate is there: refuse, the default, or first, for devices whose
	// certificate names something else. Who names none gets the first.
	UnknownName string `conf:"unknown_name"`
	// PassNames are hosts whose clients are led to the server as they are: their TLS
	// is not ended here. *.example.com stands for all names one label longer.
	PassNames []string `conf:"pass_names"`
	// MinVersion is 1.2, the default, or 1.3.
	MinVersion string `conf:"min_version"`
	// Ciphers are those of TLS 1.2, as IANA spells them; none: ECDHE with AEAD.
	Ciphers []string `conf:"ciphers"`
	// ALPN are the protocols offered; default http/1.1.
	ALPN []string `conf:"alpn"`
	// Tickets lets clients resume sessions; keys change every day.
	Tickets bool `conf:"tickets"`
	// ClientCA is a PEM file with the authorities of client certificates, which
	// every client then has to show.
	ClientCA string `conf:"client_ca"`
	// HandshakeTimeout bounds a handshake; default 10s.
	HandshakeTimeout time.Duration `conf:"handshake_timeout"`
	// Handshakes limits those that are under way; default 1000.
	Handshakes int `conf:"handshakes"`
	// Connections and ClientConnections are limits of the instance and of one
	// client address; 0: none.
	Connections       int `conf:"connections"`
	ClientConnections int `conf:"client_connections"`
	// Upstream is plain, the default, or tls.
	Upstream string `conf:"upstream"`
	// UpstreamTLS is how the server is verified.
	UpstreamTLS Upstream `conf:"upstream_tls"`
}

// Pair is one certificate with its key.
type Pair struct {
	Certificate string `conf:"certificate"`
	Key         string `conf:"key"`
	OCSP        string `conf:"ocsp"`
}

// Upstream says how the server's certificate is verified.
type Upstream struct {
	// CA is a PEM file with the authorities, or with the server's own
	// certificate; "": those of the system.
	CA string `conf:"ca"`
	// Name is the name that the certificate must have; "": the server's address.
	Name string `conf:"name"`
	// MinVersion is 1.0, 1.1, 1.2, the default, or 1.3; the first two are broken
	// and only for servers that have nothing else.
	MinVersion string `conf:"min_version"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{
		UnknownName: "refuse", MinVersion: "1.2", ALPN: []string{"http/1.1"}, Tickets: true,
		HandshakeTimeout: 10 * time.Second, Handshakes: 1000, Connections: 10000, Upstream: "plain",
		UpstreamTLS: Upstream{MinVersion: "1.2"},
	}
}

var versions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// pairs lists all certificates, the first one first.
func (c *Config) pairs() []Pair {
	var list []Pair
	if c.Certificate != "" || c.Key != "" {
		list = append(list, Pair{c.Certificate, c.Key, c.OCSP})
	}
	return append(list, c.Certificates...)
}

// files gives the settings that name files.
func (c *Config) files() iter.Seq2[string, string] {
	return func(yield func(setting, file string) bool) {
		for _, p := range c.pairs() {
			if !yield("certificate", p.Certificate) || !yield("key", p.Key) || !yield("ocsp", p.OCSP) {
				return
			}
		}
		if yield("client_ca", c.ClientCA) {
			yield("upstream_tls.ca", c.UpstreamTLS.CA)
		}
	}
}

// cipher finds a suite of TLS 1.2 that is not known to be weak.
func cipher(name string) (uint16, bool) {
	for _, s := range tls.CipherSuites() {
		if s.Name == name && s.SupportedVersions[0] != tls.VersionTLS13 {
			return s.ID, true
		}
	}
	return 0, false
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range c.PassNames {
		if host := strings.TrimPrefix(name, "*."); !isHostName(host) || strings.ToLower(name) != name {
			wrong("pass_names: %q is no name of a host in small letters (such as plc.example.com or *.example.com)", name)
		}
	}
	if len(c.pairs()) == 0 && len(c.PassNames) == 0 {
		wrong("certificate: it is missing (add `certificate: FILE` and `key: FILE`)")
	}
	for name, file := range c.files() {
		if pasted(file) {
			wrong("%s: %w", name, errPasted)
			return errors.Join(errs...) // nothing else may tell of it
		}
	}
	for _, p := range c.pairs() {
		if p.Certificate == "" || p.Key == "" {
			wrong("certificate: %q with key %q: both are needed", p.Certificate, p.Key)
		}
	}
	if c.UnknownName != "refuse" && c.UnknownName != "first" {
		wrong("unknown_name: %q is unknown (refuse, first)", c.UnknownName)
	}
	if c.MinVersion != "1.2" && c.MinVersion != "1.3" {
		wrong("min_version: %q is not offered to clients (1.2, 1.3)", c.MinVersion)
	}
	for _, name := range c.Ciphers {
		if _, ok := cipher(name); !ok {
			wrong("ciphers: %q is no good suite of TLS 1.2 (such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; those of TLS 1.3 are always on)", name)
		}
	}
	if c.HandshakeTimeout < 100*time.Millisecond || c.HandshakeTimeout > 5*time.Minute {
		wrong("handshake_timeout: %v is out of range (100ms to 5m)", c.HandshakeTimeout)
	}
	if c.Handshakes < 1 {
		wrong("handshakes: %d is out of range (1 and more)", c.Handshakes)
	}
	if c.Connections < 0 || c.ClientConnections < 0 {
		wrong("connections: a limit is negative (0 means none)")
	}
	if c.Upstream != "plain" && c.Upstream != "tls" {
		wrong("upstream: %q is unknown (plain, tls)", c.Upstream)
	}
	if versions[c.UpstreamTLS.MinVersion] == 0 {
		wrong("upstream_tls.min_version: %q is unknown (1.2, 1.3; for servers that have nothing else 1.0, 1.1)", c.UpstreamTLS.MinVersion)
	}
	return errors.Join(errs...)
}
