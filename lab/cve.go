package lab

import "strings"

// Precision says how well the trigger of a vulnerability is known.
type Precision string

// The precisions.
const (
	FromPoC  Precision = "a" // confirmed in a published proof of concept or source
	FromRule Precision = "b" // from a rule or mitigation that CERT/CC published
	FromText Precision = "c" // from one published sentence only
)

// Vulnerability is one row of the self-test.
type Vulnerability struct {
	CVE       string
	Family    string
	Check     string // what of the proxy meets it
	Precision Precision
	// Needs names the protocol module that would meet it, where layers 2 to 4
	// cannot: DNS, DHCP, FTP, TFTP, HTTP; "?" where what triggers it was not
	// published.
	Needs   string
	trigger string // its name; "" without one
}

// isnTrigger is no packet: the initial sequence numbers of connections.
const isnTrigger = "initial-sequence-number"

// Families, in the order of the table.
const (
	ripple20   = "Ripple20"
	urgent11   = "URGENT/11"
	amnesia33  = "AMNESIA:33"
	numberJack = "NUMBER:JACK"
	nameWreck  = "NAME:WRECK"
	infraHalt  = "INFRA:HALT"
	nucleus13  = "NUCLEUS:13"
	others     = "others"
)

// Vulnerabilities lists the 108 of seven families, and some that the same
// devices have, each family in order of its publication.
func Vulnerabilities() []Vulnerability {
	var list []Vulnerability
	family := ""
	for line := range strings.Lines(vulnerabilities) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) == 1:
			family = f[0]
		default:
			v := Vulnerability{Family: family, Precision: Precision(f[1])}
			if v.CVE = f[0]; v.CVE[0] >= '0' && v.CVE[0] <= '9' {
				v.CVE = "CVE-" + v.CVE
			}
			if len(f) == 3 {
				v.Needs, v.Check = f[2], f[2]
			} else {
				v.Check, v.trigger = f[2], f[3]
			}
			list = append(list, v)
		}
	}
	return list
}

// vulnerabilities has a line for each: number, precision, check, trigger; or
// number, precision, and the module that is needed. A word alone is a family.
const vulnerabilities = ripple20 + `
2020-11896 a ip.protocol ipip-fragments-length
2020-11897 b ip6.extension rh0
2020-11898 a ip.protocol ipip-fragments-ihl
2020-11899 b ip6.multicast multicast6
2020-11900 b ip.protocol ipip
2020-11901 a DNS
2020-11902 b icmp.type 6in4
2020-11903 c dhcp.option dhcp-option-end
2020-11904 c ?
2020-11905 c DHCP
2020-11906 c frame.length frame-length
2020-11907 b ip.fragment tcp-fragments
2020-11908 c dhcp.text dhcp-name-end
2020-11909 b ip.options source-route
2020-11910 b icmp.errors icmp-mtu
2020-11911 b icmp.type icmp-mask
2020-11912 b tcp.options sack-corrupted
2020-11913 b ip6.length runt6
2020-11914 b arp arp-runt
` + urgent11 + `
2019-12255 a tcp.urgent urgent-0
2019-12256 c ip.options ip-options
2019-12257 c dhcp.option dhcp-option-end
2019-12258 a tcp.options wscale-length-2
2019-12259 c ip.protocol igmp
2019-12260 a tcp.options ao-length-1
2019-12261 c tcp.urgent urgent-beyond
2019-12262 c arp rarp
2019-12263 c tcp.urgent urgent-beyond
2019-12264 c dhcp.address dhcp-group
2019-12265 c ip.fragment igmp-fragments
` + amnesia33 + `
2020-13984 c ip6.extension destination-header-length
2020-13985 c ip6.extension rpl
2020-13986 c ip6.extension rpl
2020-13987 c udp.length udp-length
2020-13988 a tcp.options options-sum-256
2020-17437 a tcp.urgent urgent-beyond
2020-17438 a ip.fragment fragment-beyond-buffer
2020-17439 c DNS
2020-17440 c DNS
2020-17441 c ip6.length payload-length6
2020-17442 a ip6.extension hop-by-hop-254
2020-17443 c icmp.length icmp6-short
2020-17444 a ip6.extension destination-header-length
2020-17445 a ip6.extension destination-option-length
2020-17467 c DNS
2020-17468 c ip6.extension hop-by-hop-254
2020-17469 c ip6.fragment fragment6-misaligned
2020-17470 c DNS
2020-24334 c DNS
2020-24335 c DNS
2020-24336 c DNS
2020-24337 a tcp.options option-length-0
2020-24338 c DNS
2020-24339 c DNS
2020-24340 c DNS
2020-24341 a tcp.data-offset data-offset-15
2020-24383 c DNS
2020-25107 c DNS
2020-25108 c DNS
2020-25109 c DNS
2020-25110 c DNS
2020-25111 c DNS
2020-25112 c ip6.extension echo6-header-length
` + numberJack + `
2020-27213 c tcp.isn initial-sequence-number
2020-27630 c tcp.isn initial-sequence-number
2020-27631 c tcp.isn initial-sequence-number
2020-27632 c tcp.isn initial-sequence-number
2020-27633 c tcp.isn initial-sequence-number
2020-27634 c tcp.isn initial-sequence-number
2020-27635 c tcp.isn initial-sequence-number
2020-27636 c tcp.isn initial-sequence-number
2020-28388 c tcp.isn initial-sequence-number
` + nameWreck + `
2016-20009 c DNS
2020-7461 c dhcp.option dhcp-search-loop
2020-15795 c DNS
2020-27009 c DNS
2020-27736 c DNS
2020-27737 c DNS
2020-27738 c DNS
2021-25677 c DNS
no-number(NetX) c DNS
` + infraHalt + `
2020-25767 c DNS
2020-25926 c DNS
2020-25927 c DNS
2020-25928 c DNS
2020-35683 c icmp.length icmp-short
2020-35684 c tcp.length tcp-header-short
2020-35685 c tcp.isn initial-sequence-number
2021-27565 c http.method http-method
2021-31226 c http.body http-length-beyond
2021-31227 c http.content-length http-length-negative
2021-31228 c DNS
2021-31400 c tcp.urgent urgent-beyond
2021-31401 c ip.total-length total-length-underflow
2021-36762 c TFTP
` + nucleus13 + `
2021-31344 c ip.options echo-options
2021-31345 c udp.length udp-length
2021-31346 c icmp.length icmp-short
2021-31881 c dhcp.option dhcp-vendor-length
2021-31882 c dhcp.option dhcp-server-length
2021-31883 c dhcp.option dhcp-vendor-length
2021-31884 c DHCP
2021-31885 c TFTP
2021-31886 c FTP
2021-31887 c FTP
2021-31888 c FTP
2021-31889 c tcp.options sack-corrupted
2021-31890 c tcp.length tcp-header-short
` + others + `
2020-10136 a ip.protocol ipip
2020-27336 c ip6.length payload-length6
2020-27337 c ip6.extension destination-option-length
2024-38063 a ip6.fragment error-option-fragments6
2021-24086 a ip6.fragment nested-fragments6
2020-16898 c icmp6.type router-advertisement
2019-11477 b tcp.mss mss-48
2019-11478 b tcp.mss mss-48
2019-11479 b tcp.mss mss-48
2021-25663 c ip6.extension destination-header-length
2021-25664 c ip6.extension hop-by-hop-254
2021-26788 c tcp.options option-length-0
2019-13939 c dhcp.address dhcp-no-address
1999-0015 a ip.fragment fragment-overlap
1999-0016 a ip.land land
2004-0230 b tcp.reset reset-in-window
2004-0790 b icmp.errors icmp-blind-reset
2004-1060 b icmp.errors icmp-blind-mtu
2018-5391 b ip.fragment fragment-flood
2011-3192 a http.range http-ranges
2025-55315 a http.chunk http-chunk-extension
`
