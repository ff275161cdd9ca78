package https

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The module's reasons: all are handshakes that are refused.
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
	ReasonClient = refused("https.client-certificate", "8446 §4.4.2.4", "the client shows no certificate of client_ca's authorities",
		"clients that have not been given one", "modules: {https: {client_ca: FILE}}")
	ReasonAlert = refused("https.handshake.alert", "8446 §6.2", "the client ended the handshake with an alert",
		"clients that do not trust the certificate", "modules: {https: {certificate: FILE}} of an authority that they trust")
	ReasonTimeout = refused("https.handshake.timeout", "8446 §4", "the handshake was not complete in time",
		"very slow links", "modules: {https: {handshake_timeout: 10s}}")
	ReasonLimit = refused("https.handshake.limit", "8446 §4", "as many handshakes are under way as the limit allows",
		"many clients that come at once", "modules: {https: {handshakes: 1000}}")
	ReasonServer = refused("https.server.tls", "8446 §4.4.2", "the server's TLS handshake failed, or its certificate is not the one that upstream_tls demands",
		"a server with a new certificate", "modules: {https: {upstream_tls: {ca: FILE}}}")
)

func refused(name, rfc, doc, trips, relax string) ppf.Reason {
	return packet.NewReason("https", ppf.ReasonInfo{Name: name, Field: "https.handshake", RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}
