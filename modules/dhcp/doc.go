// Package dhcp is the PFM `dhcp`: messages of DHCP (RFC 2131) are read strictly and
// written anew, with the options that are known or listed and in one form.
package dhcp
