package main

import (
	"fmt"

	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/source/inline"
)

// endSilence lets the host be heard again at the ports of inline pairs, and tells
// at which.
func endSilence() error {
	s, err := rules.OpenSilence()
	if err != nil {
		return err
	}
	defer s.Close()
	ports, err := s.Ports()
	if err != nil || len(ports) == 0 {
		return err
	}
	for _, p := range ports {
		used, err := inline.InUse(p)
		if err != nil {
			return err
		}
		if used {
			return fmt.Errorf("unblock: a daemon carries frames at %s (stop it instead)", p)
		}
	}
	if err := s.Keep(nil); err != nil {
		return err
	}
	fmt.Printf("removed: the silence of this host at %v\n", ports)
	return nil
}

// endDiversion takes away the policy routing of connections that ended on this
// host.
func endDiversion() error {
	d, err := host.OpenDiversion()
	if err != nil {
		return err
	}
	defer d.Close()
	removed, err := d.Remove()
	if removed {
		fmt.Println("removed: the policy routing of connections that ended here")
	}
	return err
}
