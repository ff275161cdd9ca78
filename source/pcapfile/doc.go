// Package pcapfile is the source whose packets stand in a capture file: pcap and
// pcapng, of either byte order, with microseconds or nanoseconds, of Ethernet, raw
// IP, Linux cooked captures and BSD loopback. What is sent becomes another capture
// file. It needs no privilege and looks at no clock: the time is the capture's,
// random numbers come from a seed, and the same input gives the same bytes.
package pcapfile
