package lab

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HTTPServer serves deterministic downloads and takes uploads.
type HTTPServer struct {
	Addr string // "ADDRESS:PORT"

	server http.Server
	served chan error
}

type dataKey struct {
	seed uint64
	n    int64
}

// hashes are those of the bodies that servers were asked for: to hash a large one
// takes as long as to transfer it.
var hashes = struct {
	sync.Mutex
	of map[dataKey][sha256.Size]byte
}{of: map[dataKey][sha256.Size]byte{}}

// digestField carries the SHA-256 of a body (RFC 9530 §2).
const digestField = "Repr-Digest"

// StartHTTP starts a web server on the host; addr as for Listen. The caller
// calls Close.
func (h *Host) StartHTTP(ctx context.Context, addr string) (*HTTPServer, error) {
	l, err := h.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return serveHTTP(l), nil
}

// StartHTTPS is StartHTTP with TLS.
func (h *Host) StartHTTPS(ctx context.Context, addr string, cfg *tls.Config) (*HTTPServer, error) {
	l, err := h.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return serveHTTP(tls.NewListener(l, cfg)), nil
}

func serveHTTP(l net.Listener) *HTTPServer {
	s := &HTTPServer{Addr: l.Addr().String(), served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /data", s.download)
	mux.HandleFunc("POST /upload", s.upload)
	s.server.Handler = mux
	go func() { s.served <- s.server.Serve(l) }()
	return s
}

// Close ends the server and its connections. It is called once.
func (s *HTTPServer) Close() error {
	err := s.server.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// DataURL names a body of n bytes from Data(seed, n).
func (s *HTTPServer) DataURL(n int64, seed uint64) string {
	return fmt.Sprintf("http://%s/data?bytes=%d&seed=%d", s.Addr, n, seed)
}

// UploadURL takes what Upload sends.
func (s *HTTPServer) UploadURL() string { return "http://" + s.Addr + "/upload" }

func (s *HTTPServer) download(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("bytes"), 10, 64)
	seed, err2 := strconv.ParseUint(r.FormValue("seed"), 10, 64)
	if errors.Join(err, err2) != nil || n < 0 {
		http.Error(w, "want /data?bytes=N&seed=S", http.StatusBadRequest)
		return
	}
	sum := dataHash(seed, n)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	w.Header().Set(digestField, digest(sum[:]))
	// The client finds out about a transfer that ends early.
	_, _ = io.CopyBuffer(w, Data(seed, n), make([]byte, 1<<18))
}

// dataHash is the hash of Data(seed, n).
func dataHash(seed uint64, n int64) [sha256.Size]byte {
	hashes.Lock()
	defer hashes.Unlock()
	key := dataKey{seed, n}
	sum, ok := hashes.of[key]
	if !ok {
		sink := sha256.New()
		_, _ = io.Copy(sink, Data(seed, n)) // neither side fails
		sum = [sha256.Size]byte(sink.Sum(nil))
		hashes.of[key] = sum
	}
	return sum
}

func (s *HTTPServer) upload(w http.ResponseWriter, r *http.Request) {
	sink := sha256.New()
	if _, err := io.Copy(sink, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, hex.EncodeToString(sink.Sum(nil)))
}

func digest(sum []byte) string { return "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":" }

// Transfer is a completed download or upload.
type Transfer struct {
	Bytes    int64
	SHA256   [sha256.Size]byte
	Duration time.Duration // from before the connection to the last byte
}

// BitsPerSecond is the transfer's rate.
func (t Transfer) BitsPerSecond() float64 { return BitsPerSecond(t.Bytes, t.Duration) }

// ErrCorrupt reports that what arrived is not what was sent.
var ErrCorrupt = errors.New("data arrived changed")

// Download fetches a URL of an HTTPServer over a connection of its own and
// compares length and hash with what the server announced. A difference wraps
// ErrCorrupt and comes with the transfer.
func (h *Host) Download(ctx context.Context, url string) (t Transfer, err error) {
	start := time.Now()
	response, err := h.request(ctx, http.MethodGet, url, nil, 0)
	if err != nil {
		return t, err
	}
	defer response.Body.Close()
	sink := sha256.New()
	t.Bytes, err = io.CopyBuffer(struct{ io.Writer }{sink}, response.Body, make([]byte, 1<<18))
	t.Duration = time.Since(start)
	t.SHA256 = [sha256.Size]byte(sink.Sum(nil))
	if err != nil {
		return t, fmt.Errorf("download %s: after %d bytes: %w", url, t.Bytes, err)
	}
	if got, want := digest(t.SHA256[:]), response.Header.Get(digestField); got != want {
		return t, fmt.Errorf("download %s: hash %s, sent %s: %w", url, got, want, ErrCorrupt)
	}
	return t, nil
}

// Upload sends Data(seed, n) to the UploadURL of an HTTPServer and compares
// hashes; errors as for Download.
func (h *Host) Upload(ctx context.Context, url string, n int64, seed uint64) (t Transfer, err error) {
	start := time.Now()
	sink := sha256.New()
	response, err := h.request(ctx, http.MethodPost, url, io.TeeReader(Data(seed, n), sink), n)
	if err != nil {
		return t, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return t, fmt.Errorf("upload to %s: read the answer: %w", url, err)
	}
	t = Transfer{n, [sha256.Size]byte(sink.Sum(nil)), time.Since(start)}
	if got, want := strings.TrimSpace(string(text)), hex.EncodeToString(t.SHA256[:]); got != want {
		return t, fmt.Errorf("upload to %s: hash %s, sent %s: %w", url, got, want, ErrCorrupt)
	}
	return t, nil
}

// request makes one HTTP exchange on a connection of its own; the status is 200.
func (h *Host) request(ctx context.Context, method, url string, body io.Reader, n int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = n
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return h.Dial(ctx, network, addr)
		},
		DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: 1 << 18, WriteBufferSize: 1 << 18,
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		response.Body.Close()
		return nil, fmt.Errorf("%s %s: status %s: %s", method, url, response.Status, strings.TrimSpace(string(text)))
	}
	return response, nil
}
