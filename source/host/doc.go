// Package host tells the framework about the machine it runs on: time and
// randomness, interfaces, routes, and source ports that no local socket uses.
package host
