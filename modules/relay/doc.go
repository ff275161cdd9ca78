// Package relay is the PFM `relay`: it ends a TCP connection and carries its
// bytes over a second one to the server. The bytes are not looked at, and where
// both ends are TCP the kernel moves them (splice(2)).
package relay
