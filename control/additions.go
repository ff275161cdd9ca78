package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// additionRequest is the body of a request to add instances or to change them.
type additionRequest struct {
	YAML string `json:"yaml"`
}

// add puts instances to use for as long as the client's connection lasts: who is
// cut off by them, or killed, gets back what was before.
func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	q, err := decode[additionRequest](r)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	id, result, err := s.backend.Add(r.Context(), q.YAML)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	a := Addition{id, result}
	if len(result.Problems) > 0 {
		a.ID = 0
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flusher := http.NewResponseController(w)
	err = json.NewEncoder(w).Encode(a)
	if a.ID == 0 {
		return
	}
	if err == nil && flusher.Flush() == nil {
		<-r.Context().Done()
	}
	// There is nobody to tell; the daemon's log has it.
	_ = s.backend.RemoveAdded(context.Background(), id)
}

func (s *Server) removeAdded(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("addition %q: it is not a number", r.PathValue("id"))
	}
	return struct{}{}, s.backend.RemoveAdded(r.Context(), id)
}

func (s *Server) changeAdded(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("addition %q: it is not a number", r.PathValue("id"))
	}
	q, err := decode[additionRequest](r)
	if err != nil {
		return nil, err
	}
	return s.backend.ChangeAdded(r.Context(), id, q.YAML)
}

// Added is what Client.Add has put to use.
type Added struct {
	Result ReloadResult // with problems nothing was changed
	id     int
	c      *Client
	body   io.ReadCloser
	ended  chan struct{}
}

// Add puts the instances of a configuration to use beside those of the daemon's
// file, until Close or the end of this process.
func (c *Client) Add(ctx context.Context, yaml string) (*Added, error) {
	body, err := c.open(ctx, "POST", "additions", additionRequest{yaml})
	if err != nil {
		return nil, err
	}
	var a Addition
	in := json.NewDecoder(body)
	if err := in.Decode(&a); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket %s: %w", c.path, err), body.Close())
	}
	added := &Added{Result: a.ReloadResult, id: a.ID, c: c, body: body, ended: make(chan struct{})}
	go func() {
		defer close(added.ended)
		_ = in.Decode(&a) // nothing more comes: it returns when the connection ends
	}()
	return added, nil
}

// Change puts other instances in their place.
func (a *Added) Change(ctx context.Context, yaml string) (r ReloadResult, err error) {
	return r, a.c.do(ctx, "PUT", fmt.Sprintf("additions/%d", a.id), additionRequest{yaml}, &r)
}

// Ended is closed when the daemon has ended, or Close was called.
func (a *Added) Ended() <-chan struct{} { return a.ended }

// Close takes the instances back.
func (a *Added) Close() error {
	var err error
	select {
	case <-a.ended:
	default:
		err = a.c.do(context.Background(), "DELETE", fmt.Sprintf("additions/%d", a.id), nil, &struct{}{})
	}
	err = errors.Join(err, a.body.Close())
	<-a.ended
	return err
}
