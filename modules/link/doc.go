// Package link keeps what modules of the link layer share: which host has which
// address. It is no PFM.
package link
