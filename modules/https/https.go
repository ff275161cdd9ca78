package https

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "https", Version: "1.0.0",
		Doc:       "ends TLS in front of http or relay",
		Functions: []string{"https"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{ host *ppf.ModuleHost }

var _ ppf.Module = (*module)(nil)

func (m *module) Start(_ context.Context, host *ppf.ModuleHost) error {
	m.host = host
	return host.Register(ppf.UserFunction{
		Name: "https", Doc: "ends the client's TLS, and opens TLS to the server where configured; what follows it sees plain bytes",
		Level: ppf.LevelStream, Layer: 6, AnswersFirst: true,
		Settings:   func() any { return DefaultConfig() },
		BindStream: m.bind,
	})
}

func (*module) Stop(context.Context) error { return nil }

// function is https for one proxy instance.
type function struct {
	cfg       *Config
	server    *tls.Config // towards clients
	client    *tls.Config // towards the server, without its authorities; nil: plain
	files     *store
	handshake chan struct{} // one for each that is under way
}

func (m *module) bind(b ppf.Binding) (ppf.StreamFunction, error) {
	cfg := b.Settings.(*Config)
	say := func(format string, args ...any) {
		m.host.Events().Add(ppf.Event{Kind: ppf.EventInstance, Instance: b.Instance.Name, Text: "https: " + fmt.Sprintf(format, args...)})
	}
	files, err := newStore(cfg, b.Env, say)
	if err != nil {
		return nil, err
	}
	now := func() time.Time { return time.Unix(0, ppf.Wall(b.Env)) }
	f := &function{cfg: cfg, files: files, handshake: make(chan struct{}, cfg.Handshakes)}
	f.server = &tls.Config{
		Time: now, MinVersion: versions[cfg.MinVersion], NextProtos: cfg.ALPN, SessionTicketsDisabled: !cfg.Tickets,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return files.current().choose(hello, cfg.UnknownName == "first"), nil
		},
		CipherSuites: forwardSecret(),
	}
	if len(cfg.Ciphers) > 0 {
		f.server.CipherSuites = nil
		for _, name := range cfg.Ciphers {
			id, _ := cipher(name)
			f.server.CipherSuites = append(f.server.CipherSuites, id)
		}
	}
	if cfg.ClientCA != "" {
		f.server.ClientAuth = tls.RequireAndVerifyClientCert
		// The keys of tickets stay those of f.server; who resumes a session is judged
		// by the authorities of now.
		f.server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := f.server.Clone()
			c.ClientCAs = files.current().clients
			return c, nil
		}
	}
	if cfg.Upstream == "tls" {
		f.client = &tls.Config{Time: now, MinVersion: versions[cfg.UpstreamTLS.MinVersion], ServerName: cfg.UpstreamTLS.Name, NextProtos: cfg.ALPN}
		if f.client.MinVersion < tls.VersionTLS12 {
			f.client.CipherSuites = oldSuites()
			say("upstream_tls.min_version is %s: who is between here and the server can read and change everything (RFC 8996)", cfg.UpstreamTLS.MinVersion)
		}
	}
	return f, nil
}

// forwardSecret lists the suites of TLS 1.2 with ECDHE and AEAD (RFC 9325 §4.2).
func forwardSecret() (list []uint16) {
	for _, s := range tls.CipherSuites() {
		if strings.HasPrefix(s.Name, "TLS_ECDHE_") && !strings.Contains(s.Name, "_CBC_") {
			list = append(list, s.ID)
		}
	}
	return list
}

// oldSuites lists what servers from before TLS 1.2 may have: besides the good ones
// those without forward secrecy and with 3DES, but not RC4 (RFC 7465).
func oldSuites() (list []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if !strings.Contains(s.Name, "RC4") {
			list = append(list, s.ID)
		}
	}
	return list
}

// ServeStream makes the handshake and hands the plain stream on; the server's
// connection is opened by what follows (thesis 4.4.1, item 6).
func (f *function) ServeStream(s *ppf.Session, next func(*ppf.Session)) {
	refuse := func(r ppf.Reason, err error) {
		s.Count(r, ppf.DoRefuse)
		s.Refused(ppf.ClientToServer)
		s.Report("%v: client %v: %v", r, s.ClientAddr, err)
	}
	if r := s.Enter("https", f.cfg.Connections, f.cfg.ClientConnections); r != packet.ReasonNone {
		refuse(r, errors.New("limit reached"))
		ppf.Abort(s.Client)
		return
	}
	defer s.Leave("https")
	select {
	case f.handshake <- struct{}{}:
	default:
		refuse(ReasonLimit, errors.New("limit reached"))
		ppf.Abort(s.Client)
		return
	}
	raw := &ending{Conn: s.Client}
	conn := tls.Server(raw, f.server)
	var h hello
	var rest []byte
	passed := false
	err := func() (err error) {
		defer func() { <-f.handshake }()
		if err := s.Client.SetDeadline(time.Unix(0, s.Env().Now()).Add(f.cfg.HandshakeTimeout)); err != nil {
			return err
		}
		if len(f.cfg.PassNames) > 0 {
			if h, raw.again, rest, err = readHello(s); err != nil {
				return err
			}
			if passed = f.cfg.passes(h.name); passed {
				return s.Client.SetDeadline(time.Time{})
			}
		}
		if err := aside(conn.Handshake); err != nil {
			return err
		}
		return conn.SetDeadline(time.Time{})
	}()
	switch {
	case errors.Is(err, io.EOF) && !raw.began && len(raw.again) == 0:
		return // it has said nothing, as those who look whether somebody listens, and browsers that were faster with another one
	case err != nil:
		if errors.Is(err, errHello) {
			alert(s, alertDecode)
		}
		refuse(classify(err), err)
		return
	case passed:
		pass(s, h, rest)
		return
	}
	// It sends close_notify, unless the connection was reset meanwhile: what is
	// cut off at the server must not look complete to the client.
	defer conn.Close()
	state := conn.ConnectionState()
	s.Describe(strings.TrimSpace(fmt.Sprintf("%s %s %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.ServerName)))
	s.Client, s.TLS = &secured{Conn: conn, raw: raw, broken: func(err error) { refuse(classifyRecord(err), err) }}, true
	if f.client != nil {
		s.WrapServer(func(ctx context.Context, plain net.Conn) (net.Conn, error) {
			return f.upstream(ctx, s, plain)
		})
	}
	next(s)
}

// upstream makes TLS of a connection to the server.
func (f *function) upstream(ctx context.Context, s *ppf.Session, plain net.Conn) (net.Conn, error) {
	cfg := f.client.Clone()
	cfg.RootCAs = f.files.current().servers
	if cfg.ServerName == "" {
		cfg.ServerName = s.ServerAddr.Addr().String()
	}
	refuse := func(err error) {
		s.Count(ReasonServer, ppf.DoRefuse)
		s.Report("%v: server %v: %v", ReasonServer, s.ServerAddr, err)
	}
	raw := &ending{Conn: plain}
	conn := tls.Client(raw, cfg)
	if err := aside(func() error { return conn.HandshakeContext(ctx) }); err != nil {
		refuse(err)
		return nil, err
	}
	return &secured{Conn: conn, raw: raw, broken: refuse}, nil
}

// classify finds the reason for a handshake that failed. What crypto/tls gives no
// type to it tells by its text, which the tests hold on to.
func classify(err error) ppf.Reason {
	var op *net.OpError
	var verify *tls.CertificateVerificationError
	text := err.Error()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.As(err, &verify) && expired(verify):
		return ReasonClientExpired
	case errors.As(err, &verify), strings.Contains(text, "client certificate"):
		return ReasonClient
	case strings.Contains(text, "didn't provide a certificate"):
		return ReasonClientMissing
	case errors.As(err, &op) && op.Op == "remote error":
		return ReasonAlert
	case strings.Contains(text, "unsupported versions"):
		return ReasonVersion
	case strings.Contains(text, "unsupported application protocols"):
		return ReasonProtocol
	case strings.Contains(text, "no certificates configured"):
		return ReasonName
	case strings.Contains(text, "cipher suite"), strings.Contains(text, "mutually supported"), strings.Contains(text, "key exchanges"), strings.Contains(text, "signature algorithm"):
		return ReasonCipher
	}
	return ReasonNotTLS
}

// classifyRecord finds the reason for what comes after the handshake and is no TLS.
func classifyRecord(err error) ppf.Reason {
	if renegotiates(err) {
		return ReasonRenegotiation
	}
	return ReasonRecord
}

// expired says whether a certificate is refused for its time alone.
func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}
