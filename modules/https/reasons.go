package https

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The module's reasons: handshakes that are refused, and connections that are broken
// off after them.
var (
	ReasonNotTLS = refused("https.handshake.malformed", "8446 §4", "what the client sends is no TLS handshake, or it ends in the middle of one",
		"none known", "")
	ReasonVersion = refused("https.handshake.version", "8996", "the client offers no version of TLS that the instance allows",
		"clients from before 2012", "modules: {https: {min_version: 1.2}}")
	ReasonCipher = refused("https.handshake.cipher", "9325 §4", "the client offers no cipher suite or group that the instance allows",
		"clients without forward secrecy", "modules: {https: {ciphers: […]}}")
	ReasonProtocol = refused("https.handshake.alpn", "7301 §3.2", "the client offers application protocols, and none of the instance's",
		"clients of HTTP/2 alone", "modules: {https: {alpn: […]}}")
	ReasonName = refused("https.name.unknown", "6066 §3", "the client names a host of which there is no certificate",
		"devices whose certificate names something else", "modules: {https: {unknown_name: first}}, or pass_names: [NAME]")
	ReasonClient = refused("https.client-certificate", "8446 §4.4.2.4", "the client's certificate is of none of client_ca's authorities, or not for clients",
		"clients with one of an authority that is not in the file", "modules: {https: {client_ca: FILE}}")
	ReasonClientMissing = refused("https.client-certificate.missing", "8446 §4.4.2.4", "the client shows no certificate, and client_ca wants one",
		"clients that have not been given one", "modules: {https: {client_ca: FILE}} left out")
	ReasonClientExpired = refused("https.client-certificate.expired", "5280 §6.1.3", "the client's certificate is out of its time",
		"clients whose certificate was not renewed, and clocks that are wrong", "modules: {https: {client_ca: FILE}} left out")
	ReasonRenegotiation = packet.NewReason("https", ppf.ReasonInfo{Name: "https.renegotiation", Field: "https.handshake", RFC: "9325 §3.5",
		Doc: "the client wants to negotiate anew within a connection, which costs it little and us much", Trips: "very old clients that have been idle",
		Relax: "modules: {https: {pass_names: [NAME]}}, which leaves it to the server", CVE: []string{"CVE-2009-3555", "CVE-2011-1473"}})
	ReasonRecord = refused("https.record", "8446 §5", "what the client sends after the handshake is no TLS: a record that is damaged, forged or out of place",
		"none known", "")
	ReasonAlert = refused("https.handshake.alert", "8446 §6.2", "the client ended the handshake with an alert",
		"clients that do not trust the certificate", "modules: {https: {certificate: FILE}} of an authority that they trust")
	ReasonTimeout = refused("https.handshake.timeout", "8446 §4", "the handshake was not complete in time",
		"very slow links", "modules: {https: {handshake_timeout: 10s}}")
	ReasonLimit = refused("https.handshake.limit", "8446 §4", "as many handshakes are under way as the limit allows",
		"many clients that come at once", "modules: {https: {handshakes: 1000}}")
	ReasonServer = refused("https.server.tls", "8446 §4.4.2", "the server's TLS handshake failed, its certificate is not the one that upstream_tls demands, or what it sends is no TLS",
		"a server with a new certificate", "modules: {https: {upstream_tls: {ca: FILE}}}")
)

func refused(name, rfc, doc, trips, relax string) ppf.Reason {
	return packet.NewReason("https", ppf.ReasonInfo{Name: name, Field: "https.handshake", RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}
