// Package daemon puts the parts together: configuration, engine, queues, kernel
// rules and control socket, in the order that keeps the server closed to what
// was not judged. Start: queues are bound and instances made before the rules
// select anything. Stop: the rules go first (or turn into drops), then what is
// still queued is answered.
package daemon
