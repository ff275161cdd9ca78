// Package protect makes a configuration out of a server's address and what is
// known of the machine between it and its clients. It opens nothing: Compose is
// a pure function of Facts and Wish, so that what `promethos protect` does can be
// printed first and tested without a network.
package protect
