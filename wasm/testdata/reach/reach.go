// Package reach is a module for tests: it reaches for what a module is not given, and
// the packet that it sends tells what it got.
package reach

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/promethos/promethos/pfm"
)

// Module does it.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "reach", Bind: bind}}}

func bind(*pfm.Binding) (pfm.Processor, error) {
	return func(x *pfm.Exchange) pfm.Verdict {
		if _, stop := x.Rebuild(); stop {
			return pfm.Stopped
		}
		x.SetPayload([]byte(reach(string(x.Payload()))))
		return pfm.Accept
	}, nil
}

// reach tells what came of one thing.
func reach(what string) string {
	result := func(got any, err error) string {
		if err != nil {
			return "error"
		}
		return fmt.Sprint("got ", got)
	}
	switch what {
	case "read":
		b, err := os.ReadFile("/etc/passwd")
		return result(len(b), err)
	case "write":
		return result("", os.WriteFile("/tmp/promethos-reached", []byte("x"), 0o600))
	case "list":
		entries, err := os.ReadDir("/")
		return result(len(entries), err)
	case "folder":
		return result("", os.Mkdir("/tmp/promethos-reached", 0o700))
	case "dial":
		c, err := net.Dial("tcp", "127.0.0.1:80")
		return result(c, err)
	case "run":
		return result("", exec.Command("/bin/true").Run())
	case "input":
		n, err := os.Stdin.Read(make([]byte, 1))
		return result(n, err)
	case "environment":
		return fmt.Sprint(len(os.Environ()), len(os.Args))
	case "output":
		fmt.Println("said aloud")
		return "said"
	case "clock":
		return time.Now().UTC().Format(time.RFC3339)
	case "sleep":
		time.Sleep(time.Hour)
		return "slept"
	case "random":
		b := make([]byte, 16)
		_, err := rand.Read(b)
		return result(hex.EncodeToString(b), err)
	}
	return "what?"
}
