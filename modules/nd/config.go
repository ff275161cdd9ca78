package nd

import (
	"fmt"

	"github.com/promethos/promethos/modules/link"
	"github.com/promethos/promethos/ppf"
)

// Routers says on which sides of the wire routers stand.
type Routers uint8

// The sides. The zero value trusts nobody.
const (
	None   Routers = 0
	Client Routers = 1 << ppf.ClientToServer
	Server Routers = 1 << ppf.ServerToClient
	Both           = Client | Server
)

var routerNames = [...]string{None: "none", Client: "client", Server: "server", Both: "both"}

// String gives "none", "client", "server" or "both".
func (r Routers) String() string { return routerNames[r&Both] }

// UnmarshalText is the inverse of String.
func (r *Routers) UnmarshalText(b []byte) error {
	for i, name := range routerNames {
		if string(b) == name {
			*r = Routers(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of none, client, server and both", b)
}

// Config holds the settings under `modules: {nd: …}`.
type Config struct {
	link.Config
	// Routers says on which side router advertisements are good; default none.
	Routers Routers `conf:"routers"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config { return Config{Config: link.DefaultConfig()} }
