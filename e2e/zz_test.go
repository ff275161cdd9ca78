package e2e
import ("testing";"github.com/promethos/promethos/lab";"time")
func TestZZ(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	for _, h := range []string{"forward","postrouting","prerouting"} {
	t.Run(h, func(t *testing.T){
	d := withServer(t, l, h, p, "")
	cs := d.rule(t, "-A", "OUTPUT", "-p", "tcp", "-d", l.Server.IPv4.String(), "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 tcp.")
	d.rule(t, "-A", "INPUT", "-p", "tcp", "-s", l.Server.IPv4.String(), "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
	_, err := l.Proxy.Download(within(t, time.Second*2), at(hostPort(l.Server, "tcp4", p)).DataURL(100_000, 1))
	t.Log(h, err)
	t.Log(d.do(t,"reasons"), d.do(t, "instances"), d.do(t,"connections"), d.do(t,"show","instance","web"), d.do(t,"show","instance",cs))
	if err != nil { t.Log(execute(t, l.Proxy, "nft", "list", "ruleset").out) }
	})
	}
}
