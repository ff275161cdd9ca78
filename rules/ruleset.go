package rules

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
)

// TableName is the name of our table in family inet.
const TableName = "promethos"

// Ruleset is a compiled plan: what goes into the kernel, and the same as text.
type Ruleset struct {
	chains []*chain
	blocks bool // queue targets are drops
}

type chain struct {
	info  chainInfo
	sets  []*set
	rules []rule
}

// rule is one rule as text and as expressions. Lookups name their set, whose
// kernel identity is known only when it is installed.
type rule struct {
	text  []string
	exprs []expr.Any
	sets  map[int]*set // by index in exprs
}

// set is a set of concatenated intervals: address, protocol, and with ports
// those of the server.
type set struct {
	name  string
	v6    bool
	ports bool
	boxes []box
}

// String writes the rules in nft's own syntax. A queue target that the kernel
// takes through the xtables layer reads the same.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", TableName)
	for _, c := range r.chains {
		for _, s := range c.sets {
			kind := "ipv4_addr"
			if s.v6 {
				kind = "ipv6_addr"
			}
			kind += " . inet_proto"
			if s.ports {
				kind += " . inet_service"
			}
			fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags interval\n\t\telements = {\n", s.name, kind)
			for _, x := range s.boxes {
				fmt.Fprintf(&b, "\t\t\t%s,\n", x.text(s.ports))
			}
			b.WriteString("\t\t}\n\t}\n")
		}
	}
	for _, c := range r.chains {
		fmt.Fprintf(&b, "\tchain %s { # %s\n\t\ttype filter hook %v priority %d; policy accept;\n", c.info.name, c.info.why, c.info.hook, c.info.priority)
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", strings.Join(rule.text, " "))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
