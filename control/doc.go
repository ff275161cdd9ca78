// Package control is the daemon's API on a unix socket, HTTP with JSON under
// /v1, and its client. All commands of the program use it; the socket belongs
// to the user that runs the daemon and to nobody else.
package control
