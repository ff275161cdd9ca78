package modbus

import "github.com/promethos/promethos/pfm"

func newReason(name, field, doc, trips, relax string) pfm.Reason {
	return pfm.NewReason(pfm.ReasonInfo{Name: "modbus." + name, Field: field, Doc: doc, Trips: trips, Relax: relax})
}

var (
	reasonProtocol  = newReason("protocol-id", "mbap.protocol-id", "the protocol identifier is not 0", "other protocols on the port", "")
	reasonLength    = newReason("length", "mbap.length", "the length contradicts the message, or is out of range", "none known", "")
	reasonUnit      = newReason("unit", "mbap.unit-id", "the unit is not on the list", "clients of other units", "modules: {modbus: {units: [N]}}")
	reasonFunction  = newReason("function", "pdu.function", "the function code is not one that is understood", "diagnostics, files and vendors' own functions", "")
	reasonRegister  = newReason("register", "pdu.address", "the function may not touch these registers", "clients that do more than the list says", "modules: {modbus: {allow: [{function: N, from: A, to: B}]}}")
	reasonQuantity  = newReason("quantity", "pdu.quantity", "the quantity or value is out of range", "none known", "")
	reasonException = newReason("exception", "pdu.exception", "the exception is malformed", "none known", "")
)
