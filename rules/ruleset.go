package rules

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
)

// TableName is the name of our table in family inet.
const TableName = "promethos"

// Ruleset is a compiled plan: what goes into the kernel, and the same as text. It
// does not change and may be used by several goroutines.
type Ruleset struct {
	sets   []*set
	chains []*chain // those that are jumped to before those that jump
}

// chain is a base chain, or one that base chains jump to.
type chain struct {
	name  string
	base  *placeInfo // nil for a chain that is jumped to
	rules []rule
}

// rule is one rule as text and as expressions.
type rule struct {
	text  []string
	exprs []expr.Any
	// set is what the lookup at index lookup looks into; nil where there is no
	// lookup. The kernel's name for it is known only when it is installed.
	set    *set
	lookup int
}

// set is a set of boxes of one shape.
type set struct {
	name  string
	shape shape
	boxes []box
	// quoted sets hold addresses that nft has no name for.
	quoted bool
	// remembers says that rules put elements in, which run out.
	remembers bool
}

// extensionSet stands for the one anonymous set, that of extension headers.
var extensionSet = &set{}

// String writes the rules in nft's own syntax; `nft -f` takes it. A queue target
// that the kernel takes through the xtables layer reads the same.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", TableName)
	for _, s := range r.sets {
		s.write(&b)
	}
	for _, c := range r.chains {
		c.write(&b)
	}
	b.WriteString("}\n")
	return b.String()
}

func (s *set) write(b *strings.Builder) {
	if s.remembers {
		fmt.Fprintf(b, "\tset %s {\n\t\ttype inet_proto\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %v\n\t}\n", s.name, floodSetSize, floodMemory)
		return
	}
	fmt.Fprintf(b, "\tset %s {\n\t\t%s\n\t\tflags interval\n\t\telements = {\n", s.name, s.typeText())
	for i := range s.boxes {
		fmt.Fprintf(b, "\t\t\t%s,\n", s.shape.text(&s.boxes[i], s.quoted))
	}
	b.WriteString("\t\t}\n\t}\n")
}

func (s *set) typeText() string {
	if s.quoted {
		return "typeof " + fieldQuotedSrc.text(s.shape.v6) + " . meta l4proto"
	}
	types := s.shape.types()
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	return "type " + strings.Join(names, " . ")
}

func (c *chain) write(b *strings.Builder) {
	if c.base == nil {
		fmt.Fprintf(b, "\tchain %s {\n", c.name)
	} else {
		fmt.Fprintf(b, "\tchain %s { # %s\n\t\ttype filter hook %v priority %d; policy accept;\n", c.name, c.base.why, c.base.hook, c.base.priority)
	}
	for i := range c.rules {
		fmt.Fprintf(b, "\t\t%s\n", strings.Join(c.rules[i].text, " "))
	}
	b.WriteString("\t}\n")
}
