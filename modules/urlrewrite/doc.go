// Package urlrewrite is the PFM `urlrewrite`: a message function that maps host
// and path of requests, and undoes it in responses, so that a client never sees
// the server's own name (thesis 4.3: www.ethz.ch is www.web.ethz.ch inside).
package urlrewrite
