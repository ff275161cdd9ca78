package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// iperf3Port is where iperf3 listens on the server, its own default.
const iperf3Port = "5201"

// iperf3 measures one stream of iperf3 in bit/s: a sender that is not ours, with
// the pauses that programs make. d is rounded to seconds.
func (s *site) iperf3(ctx context.Context, d time.Duration, reverse bool) func() (float64, error) {
	return func() (rate float64, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		server := s.lab.Server.Command(ctx, "iperf3", "--server", "--one-off", "--forceflush", "--port", iperf3Port)
		out, err := server.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := server.Start(); err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "Server listening") {
		}
		rate, err = s.iperf3Client(ctx, d, reverse)
		if err != nil {
			cancel() // else it has served its one client, and ends
		}
		for lines.Scan() {
		}
		return rate, errors.Join(err, lines.Err(), server.Wait())
	}
}

func (s *site) iperf3Client(ctx context.Context, d time.Duration, reverse bool) (float64, error) {
	args := []string{"--json", "--client", s.lab.Server.IPv4.String(), "--port", iperf3Port,
		"--time", strconv.Itoa(int(max(math.Round(d.Seconds()), 1)))}
	if reverse {
		args = append(args, "--reverse")
	}
	out, err := s.lab.Client.Command(ctx, "iperf3", args...).Output()
	var report struct {
		Error string
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if parsed := json.Unmarshal(out, &report); err == nil {
		err = parsed
	}
	if err != nil {
		return 0, fmt.Errorf("iperf3: %w %s", err, report.Error)
	}
	return report.End.Received.Rate, nil
}
