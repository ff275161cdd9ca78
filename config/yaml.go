package config

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/promethos/promethos/ppf"
)

// toValue turns a YAML document into values with places.
func toValue(file string, data []byte) (ppf.Value, []ppf.Problem) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return ppf.Value{}, []ppf.Problem{syntaxProblem(file, err)}
	}
	if len(doc.Content) == 0 {
		return ppf.Value{}, []ppf.Problem{{
			Pos: ppf.Pos{File: file, Line: 1, Col: 1}, What: "the file is empty", Fix: "start with `version: 1` and `instances:`",
		}}
	}
	c := converter{file: file}
	return c.value(doc.Content[0], 0), c.problems
}

// syntaxProblem takes place and text out of a parser's error.
func syntaxProblem(file string, err error) ppf.Problem {
	p := ppf.Problem{Pos: ppf.Pos{File: file, Line: 1, Col: 1}, What: err.Error(), Fix: "mend the YAML syntax"}
	var at *yaml.LoadError
	if errors.As(err, &at) {
		p.Pos.Line, p.Pos.Col, p.What = at.Mark.Line, at.Mark.Column, at.Message
	}
	return p
}

// maxDepth bounds nesting, and with it what aliases can make of a small file.
const maxDepth = 32

type converter struct {
	file     string
	problems []ppf.Problem
}

func (c *converter) pos(n *yaml.Node) ppf.Pos {
	return ppf.Pos{File: c.file, Line: n.Line, Col: n.Column}
}

func (c *converter) value(n *yaml.Node, depth int) ppf.Value {
	v := ppf.Value{Pos: c.pos(n)}
	if depth > maxDepth {
		c.problems = append(c.problems, ppf.Problem{Pos: v.Pos, What: "values are nested too deeply", Fix: "at most 32 levels"})
		return v
	}
	switch n.Kind {
	case yaml.AliasNode:
		c.problems = append(c.problems, ppf.Problem{Pos: v.Pos, What: fmt.Sprintf("alias *%s is not supported", n.Value), Fix: "write the value out"})
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return v
		}
		v.Kind, v.Scalar = ppf.ValueScalar, n.Value
	case yaml.SequenceNode:
		v.Kind = ppf.ValueList
		for _, item := range n.Content {
			v.List = append(v.List, c.value(item, depth+1))
		}
	case yaml.MappingNode:
		v.Kind = ppf.ValueMap
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				c.problems = append(c.problems, ppf.Problem{Pos: c.pos(key), What: "a key is not a word"})
				continue
			}
			if seen[key.Value] {
				c.problems = append(c.problems, ppf.Problem{Pos: c.pos(key), What: fmt.Sprintf("key %q stands twice", key.Value), Fix: "keep one of them"})
				continue
			}
			seen[key.Value] = true
			v.Map = append(v.Map, ppf.KeyValue{Pos: c.pos(key), Key: key.Value, Value: c.value(n.Content[i+1], depth+1)})
		}
	}
	return v
}
