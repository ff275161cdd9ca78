// Package headers is the PFM `headers`: a message function that sets, removes
// and keeps fields of requests and responses.
package headers
