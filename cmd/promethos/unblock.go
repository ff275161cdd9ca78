package main

import (
	"fmt"

	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/source/inline"
)

// endSilence lets the host be heard again at the ports of inline pairs, and tells
// at which.
func endSilence() (removed bool, err error) {
	s, err := rules.OpenSilence()
	if err != nil {
		return false, err
	}
	defer s.Close()
	ports, err := s.Ports()
	if err != nil || len(ports) == 0 {
		return false, err
	}
	for _, p := range ports {
		used, err := inline.InUse(p)
		if err != nil {
			return false, err
		}
		if used {
			return false, fmt.Errorf("unblock: a daemon carries frames at %s (stop it instead)", p)
		}
	}
	if err := s.Keep(nil); err != nil {
		return false, err
	}
	fmt.Printf("removed: the silence of this host at %v\n", ports)
	return true, nil
}

// endDiversion takes away the policy routing of connections that ended on this
// host.
func endDiversion() (removed bool, err error) {
	d, err := host.OpenDiversion()
	if err != nil {
		return false, err
	}
	defer d.Close()
	if removed, err = d.Remove(); removed {
		fmt.Println("removed: the policy routing of connections that ended here")
	}
	return removed, err
}
