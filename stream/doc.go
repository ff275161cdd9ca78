// Package stream delivers connections to chains with a stream function: it
// listens, accepts, and gives each connection to the engine in a goroutine of
// its own.
package stream
