package forms

import "github.com/promethos/promethos/pfm"

func newReason(name, field, doc, trips, relax string) pfm.Reason {
	return pfm.NewReason(pfm.ReasonInfo{Name: "forms." + name, Field: field, Doc: doc, Trips: trips, Relax: relax})
}

var (
	reasonPage     = newReason("page", "http.target", "the page is not on the list", "pages that nobody thought of", "modules: {forms: {others: pass}}")
	reasonMethod   = newReason("method", "http.method", "the page is not asked for by this method", "scripts that ask by another one", "modules: {forms: {pages: [{path: P, methods: [M]}]}}")
	reasonField    = newReason("field", "form", "the page has no field of that name", "a new version of the device", "modules: {forms: {pages: [{path: P, fields: [{name: N}]}]}}")
	reasonValue    = newReason("value", "form", "the value is longer than the field takes, or of another kind", "unusual names and comments", "modules: {forms: {pages: [{path: P, fields: [{name: N, kind: text, max: 256}]}]}}")
	reasonTwice    = newReason("twice", "form", "a field comes twice", "lists of check boxes", "")
	reasonEncoding = newReason("encoding", "form", "percent-encoding that is none", "none known", "")
	reasonType     = newReason("type", "http.content-type", "a body that is no form", "uploads and programs that send JSON", "modules: {forms: {others: pass}}, without that page")
)
