package packet

import "strings"

// setString names the bits of a set, lowest first: "SYN|ACK", or "none".
func setString(set uint64, names []string) string {
	var s strings.Builder
	for i, name := range names {
		if set&(1<<i) == 0 {
			continue
		}
		if s.Len() > 0 {
			s.WriteByte('|')
		}
		s.WriteString(name)
	}
	if s.Len() == 0 {
		return "none"
	}
	return s.String()
}
