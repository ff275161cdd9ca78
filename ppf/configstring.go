package ppf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ConfigString is the thesis' configuration of one flow of a proxy instance
// (thesis 4.1.3).
type ConfigString struct {
	Dir Dir
	// Layer is the number of a `cs` string, 2 to 7.
	Layer uint8
	// Instance is the number of a `sc` string: that of its `cs` flow.
	Instance  InstanceNumber
	Functions []string
}

// String spells the configuration as ParseConfigString reads it.
func (c ConfigString) String() string { return configString(c.Dir, c.Layer, c.Instance, c.Functions) }

// ParseConfigString reads `cs <layer> f1,f2.` or `sc <instance> f3.`. The error
// says what is wrong where, and how to write it.
func ParseConfigString(s string) (ConfigString, error) {
	c, err := parseConfigString(s)
	if err != nil {
		return ConfigString{}, fmt.Errorf("config string %q: %w (write `cs <layer> f1,f2.` or `sc <instance> f3.`)", s, err)
	}
	return c, nil
}

// nameCharacters are what names of user functions are made of.
const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func parseConfigString(s string) (c ConfigString, err error) {
	body, rest, dot := strings.Cut(s, ".")
	switch {
	case !dot:
		return c, errors.New("the dot at its end is missing")
	case strings.TrimSpace(rest) != "":
		return c, fmt.Errorf("%q follows the dot", strings.TrimSpace(rest))
	}
	words := strings.Fields(body)
	if len(words) == 0 {
		return c, errors.New("it is empty")
	}
	switch words[0] {
	case "cs":
		c.Dir = ClientToServer
	case "sc":
		c.Dir = ServerToClient
	default:
		return c, fmt.Errorf("it starts with %q", words[0])
	}
	number := "layer"
	if c.Dir == ServerToClient {
		number = "instance number"
	}
	if len(words) < 2 {
		return c, fmt.Errorf("the %s and the functions are missing", number)
	}
	n, err := strconv.ParseUint(words[1], 10, 32)
	switch {
	case err != nil && strings.Trim(words[1], "0123456789") != "":
		return c, fmt.Errorf("%q stands where the %s belongs", words[1], number)
	case c.Dir == ClientToServer && (err != nil || n < 2 || n > 7):
		return c, fmt.Errorf("layer %s is out of range, 2 to 7", words[1])
	case c.Dir == ServerToClient && (err != nil || n == 0):
		return c, fmt.Errorf("instance number %s is out of range", words[1])
	}
	if c.Dir == ClientToServer {
		c.Layer = uint8(n)
	} else {
		c.Instance = InstanceNumber(n)
	}
	list := strings.Join(words[2:], "")
	if list == "" {
		return c, errors.New("the functions are missing")
	}
	if len(words) > 3 && !strings.Contains(strings.Join(words[2:], " "), ",") {
		return c, errors.New("the functions are not separated by commas")
	}
	for i, name := range strings.Split(list, ",") {
		if name == "" {
			return c, fmt.Errorf("function %d has no name", i+1)
		}
		if strings.Trim(name, nameCharacters) != "" {
			return c, fmt.Errorf("%q is not the name of a function: it has other characters than letters, digits, '-' and '_'", name)
		}
		for _, seen := range c.Functions {
			if seen == name {
				return c, fmt.Errorf("function %q stands twice", name)
			}
		}
		c.Functions = append(c.Functions, name)
	}
	return c, nil
}
