package lab

import (
	"slices"
	"testing"
)

// TestVulnerabilities counts the table: 108 of seven families, and each trigger
// exists and is used.
func TestVulnerabilities(t *testing.T) {
	known := map[string]bool{isnTrigger: false}
	for _, tr := range triggers() {
		if _, twice := known[tr.name]; twice {
			t.Errorf("trigger %s stands twice", tr.name)
		}
		known[tr.name] = false
	}
	count, layers234, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, v := range Vulnerabilities() {
		count[v.Family]++
		if seen[v.CVE] {
			t.Errorf("%s stands twice", v.CVE)
		}
		seen[v.CVE] = true
		if !slices.Contains([]Precision{FromPoC, FromRule, FromText}, v.Precision) {
			t.Errorf("%s: precision %q", v.CVE, v.Precision)
		}
		switch _, ok := known[v.trigger]; {
		case v.trigger != "" && !ok:
			t.Errorf("%s: no trigger %q", v.CVE, v.trigger)
		case v.trigger != "":
			known[v.trigger] = true
			layers234[v.Family]++
		case !slices.Contains([]string{"DNS", "DHCP", "FTP", "TFTP", "HTTP", "?"}, v.Needs):
			t.Errorf("%s: neither a trigger nor a module that is needed", v.CVE)
		}
	}
	sum := 0
	for family, want := range map[string][2]int{ripple20: {19, 14}, urgent11: {11, 9}, amnesia33: {33, 17}, numberJack: {9, 9}, nameWreck: {9, 0}, infraHalt: {14, 5}, nucleus13: {13, 5}} {
		if got := [2]int{count[family], layers234[family]}; got != want {
			t.Errorf("%s: %d vulnerabilities, %d of layers 2 to 4; want %v", family, got[0], got[1], want)
		}
		sum += count[family]
	}
	if sum != 108 {
		t.Errorf("%d vulnerabilities in the seven families, want 108", sum)
	}
	for name, used := range known {
		if !used {
			t.Errorf("trigger %s: no vulnerability uses it", name)
		}
	}
}
