// Package builtin links the built-in PFMs into a program: one blank import
// each.
package builtin

import (
	_ "github.com/promethos/promethos/modules/arp"
	_ "github.com/promethos/promethos/modules/dhcp"
	_ "github.com/promethos/promethos/modules/ethernet"
	_ "github.com/promethos/promethos/modules/headers"
	_ "github.com/promethos/promethos/modules/http"
	_ "github.com/promethos/promethos/modules/https"
	_ "github.com/promethos/promethos/modules/icmp"
	_ "github.com/promethos/promethos/modules/igmp"
	_ "github.com/promethos/promethos/modules/ip"
	_ "github.com/promethos/promethos/modules/nd"
	_ "github.com/promethos/promethos/modules/pass"
	_ "github.com/promethos/promethos/modules/relay"
	_ "github.com/promethos/promethos/modules/signatures"
	_ "github.com/promethos/promethos/modules/tcp"
	_ "github.com/promethos/promethos/modules/tcp2"
	_ "github.com/promethos/promethos/modules/test"
	_ "github.com/promethos/promethos/modules/udp"
	_ "github.com/promethos/promethos/modules/urlrewrite"
)
