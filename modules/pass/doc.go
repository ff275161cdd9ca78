// Package pass is the PFM `pass`: one user function that sends the received
// packet on unchanged (the thesis' skb_to_send = skb). Nothing is intercepted;
// it is the one place where received header bytes leave again, and a chain has
// to name it.
package pass
