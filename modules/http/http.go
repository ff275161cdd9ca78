package http

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "http", Version: "1.0.0",
		Doc:       "parses HTTP/1.0 and HTTP/1.1 strictly and writes each message anew",
		Functions: []string{"http"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "http", Doc: "parses HTTP messages strictly and writes each anew, for the message functions behind it",
		Level: ppf.LevelStream, Produces: ppf.LevelMessage, Layer: 7,
		Settings:   func() any { return DefaultConfig() },
		BindStream: bind,
	})
}

func (*module) Stop(context.Context) error { return nil }

// function is http for one proxy instance.
type function struct {
	policy *policy
	budget budget
	pool   *pool // nil: no connection to the server is shared
}

func bind(b ppf.Binding) (ppf.StreamFunction, error) {
	p, err := newPolicy(b.Settings.(*Config))
	if err != nil {
		return nil, err
	}
	f := &function{policy: p}
	f.budget.limit = p.cfg.BufferTotal
	if p.cfg.Share && p.cfg.ProxyProtocol {
		return nil, errors.New("share: with proxy_protocol the server is told one client for each connection, so connections to it cannot be shared (leave one of them out)")
	}
	if p.cfg.Share {
		if b.Instance.KeepsClient() {
			return nil, errors.New("share: the server is to see each client's own address, so connections to it cannot be shared (add `upstream_address: proxy`, or leave share out)")
		}
		f.pool = &pool{most: p.cfg.SharedIdle, keep: p.cfg.IdleTimeout, now: b.Env.Now}
	}
	return f, nil
}

// ServeStream ends the stream: nothing comes behind messages.
func (f *function) ServeStream(s *ppf.Session, _ func(*ppf.Session)) {
	cfg := &f.policy.cfg
	if r := s.Enter("http", cfg.Connections, cfg.ClientConnections); r != packet.ReasonNone {
		s.Count(r, ppf.DoRefuse)
		s.Refused(ppf.ClientToServer)
		s.Report("%v: client %v", r, s.ClientAddr)
		ppf.Abort(s.Client)
		return
	}
	if cfg.ProxyProtocol {
		s.AnnounceClient()
	}
	l := link{
		conn: s.Client, client: s.ClientAddr, server: s.ServerAddr, tls: s.TLS, env: s.Env(), instance: s.Instance, mode: s.Instance.Mode,
		dial: s.Dial, do: s.Do, report: s.Report, onEnd: s.OnEnd, tally: s,
		note: func(d Defect, do ppf.Do, _ *Request) { s.Count(d.Reason, do) },
	}
	if !s.Private {
		l.pool = f.pool
	}
	for i, m := range s.Messages {
		function, ok := m.(Function)
		if !ok {
			panic(fmt.Sprintf("http: message function %d of the chain is a %T, which is no http.Function", i, m))
		}
		l.functions = append(l.functions, function)
	}
	parting := func() net.Conn {
		defer s.Leave("http")
		return serve(l, f.policy, &f.budget)
	}()
	if parting != nil {
		s.Client.Close() // it is over for the client
		part(parting, s.Env().Now())
	}
}
