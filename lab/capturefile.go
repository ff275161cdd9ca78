package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// newFrameWriter starts a pcapng file of Ethernet frames.
func newFrameWriter(w io.Writer, iface string) (*pcapgo.NgWriter, error) {
	intf := pcapgo.DefaultNgInterface
	intf.Name, intf.LinkType, intf.SnapLength = iface, layers.LinkTypeEthernet, captureFrame
	options := pcapgo.DefaultNgWriterOptions
	options.SectionInfo.Application = "promethos"
	return pcapgo.NewNgWriterInterface(w, intf, options)
}

func writeFrame(w *pcapgo.NgWriter, f Frame) error {
	flags := &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if f.Outgoing {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	info := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: len(f.Data)}
	return w.WritePacketWithOptions(info, f.Data, pcapgo.NgPacketOptions{Flags: flags})
}

// WriteCapture writes frames as a pcapng file, with their directions.
func WriteCapture(w io.Writer, frames []Frame) error {
	ng, err := newFrameWriter(w, EndInterface)
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	for _, f := range frames {
		if err := writeFrame(ng, f); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// pcapngMagic is the type of a pcapng section header, the same in both byte
// orders.
var pcapngMagic = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// ReadCapture reads a pcap or pcapng file of Ethernet frames. A frame cut by the
// capture is an error: it cannot be judged.
func ReadCapture(path string) ([]Frame, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ParseCapture(path, file)
}

// ParseCapture is ReadCapture of what a file holds; path names it in errors.
func ParseCapture(path string, file io.Reader) ([]Frame, error) {
	r := bufio.NewReader(file)
	magic, err := r.Peek(len(pcapngMagic))
	if err != nil {
		return nil, fmt.Errorf("read capture %s: %w", path, err)
	}
	var next func() (Frame, gopacket.CaptureInfo, error)
	var link layers.LinkType
	if bytes.Equal(magic, pcapngMagic) {
		ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			return nil, fmt.Errorf("read capture %s: %w", path, err)
		}
		link = ng.LinkType()
		next = func() (Frame, gopacket.CaptureInfo, error) {
			data, info, options, err := ng.ReadPacketDataWithOptions()
			outgoing := options.Flags != nil && options.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound
			return Frame{Time: info.Timestamp, Data: data, Outgoing: outgoing}, info, err
		}
	} else {
		classic, err := pcapgo.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("read capture %s: %w", path, err)
		}
		link = classic.LinkType()
		next = func() (Frame, gopacket.CaptureInfo, error) {
			data, info, err := classic.ReadPacketData()
			return Frame{Time: info.Timestamp, Data: data}, info, err
		}
	}
	if link != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("read capture %s: link type %v: want Ethernet", path, link)
	}
	var frames []Frame
	for {
		f, info, err := next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read capture %s: packet %d: %w", path, len(frames)+1, err)
		}
		if info.CaptureLength < info.Length {
			return nil, fmt.Errorf("read capture %s: packet %d: only %d of %d bytes were captured (capture whole packets)",
				path, len(frames)+1, info.CaptureLength, info.Length)
		}
		frames = append(frames, f)
	}
}
