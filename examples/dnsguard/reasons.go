package dnsguard

import "github.com/promethos/promethos/pfm"

func refused(name, field, rfc, doc, trips string, cve ...string) pfm.Reason {
	return pfm.NewReason(pfm.ReasonInfo{Name: "dnsguard." + name, Field: field, RFC: rfc, Doc: doc, Trips: trips,
		Relax: "reasons: {dnsguard." + name + ": monitor}", CVE: cve})
}

var (
	reasonHeader    = refused("header", "dns", "1035 §4.1.1", "the message is shorter than its header", "none known")
	reasonDirection = refused("direction", "dns.qr", "1035 §4.1.1", "a query comes from the server, or an answer from the client", "hosts that are client and server of one port")
	reasonOpcode    = refused("opcode", "dns.opcode", "1035 §4.1.1", "the operation is not a standard query", "NOTIFY and UPDATE between name servers")
	reasonQuestions = refused("questions", "dns.qdcount", "9619 §4", "a message has at most one question, and a query has one", "none known")
	reasonCount     = refused("count", "dns.count", "9267 §6", "the counts are not what follows, or more than allowed", "answers with more records than max_records",
		"CVE-2020-24335", "CVE-2020-25110", "CVE-2020-27737")
	reasonPointer = refused("pointer", "dns.name", "9267 §2", "a compression pointer does not lead to an earlier place in the message", "none known",
		"CVE-2016-20009", "CVE-2020-27736", "CVE-2020-15795", "CVE-2020-25767")
	reasonLabel = refused("label", "dns.name", "9267 §3", "a label has more than 63 bytes or a type that is not used", "none known")
	reasonName  = refused("name", "dns.name", "9267 §4", "a name has more than 255 bytes", "none known", "CVE-2020-11901", "CVE-2020-24338")
	reasonEnd   = refused("end", "dns.name", "9267 §5", "a name does not end inside the message", "none known",
		"CVE-2020-17440", "CVE-2020-24383", "CVE-2020-25107")
	reasonLength = refused("rdlength", "dns.rdlength", "9267 §7", "the length of a record's data is not what they need", "none known",
		"CVE-2020-11901", "CVE-2020-25108")
	reasonSigned = refused("signed", "dns.tsig", "8945 §5", "a signed message cannot be built anew without breaking its signature", "signed messages of a sender that compresses in another way")

	reasonTrailing = pfm.NewReason(pfm.ReasonInfo{Name: "dnsguard.trailing-removed", Repaired: true, Field: "udp.payload", RFC: "9267 §6",
		Doc: "bytes behind the last record are not carried over", Trips: "none known", Relax: "reasons: {dnsguard.trailing-removed: monitor}"})
	reasonReserved = pfm.NewReason(pfm.ReasonInfo{Name: "dnsguard.reserved-cleared", Repaired: true, Field: "dns.z", RFC: "1035 §4.1.1",
		Doc: "the reserved bit is cleared", Trips: "none known", Relax: "reasons: {dnsguard.reserved-cleared: monitor}"})
)
