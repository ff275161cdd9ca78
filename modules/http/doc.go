// Package http is the PFM `http` (thesis 4.3): it ends HTTP/1.0 and HTTP/1.1 on
// a stream. Each message is parsed strictly into typed values, the message
// functions of the chain look at it and change it, and the message that goes on
// is printed from these values: no octet of a received field is written that was
// not validated, and none is read twice with two meanings.
//
// A request or response is lent: what it holds points into buffers of its
// connection and is good until the exchange is over.
//
// Message functions (see Function) are modules of their own, about twenty lines
// for a simple one: the package's example is one.
package http
