// Package https is the PFM `https` (thesis 4.4): the TLS endpoint in front of
// `http` or `relay`. It ends the client's TLS 1.2 or 1.3, and where configured
// opens TLS to the server; what the chain's next function reads and writes is
// plain. TLS is crypto/tls.
package https
