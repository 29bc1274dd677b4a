package main

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles starts the requested profiles. stop writes them.
func (s *settings) profiles() (stop func() error, err error) {
	if s.allocs != "" {
		runtime.MemProfileRate = 64 << 10
	}
	var cpu *os.File
	if s.cpu != "" {
		if cpu, err = os.Create(s.cpu); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, err
		}
	}
	return func() error {
		var errs []error
		if cpu != nil {
			pprof.StopCPUProfile()
			errs = append(errs, cpu.Close())
		}
		if s.allocs != "" {
			errs = append(errs, write(s.allocs, func(w io.Writer) error { return pprof.Lookup("allocs").WriteTo(w, 0) }))
		}
		return errors.Join(errs...)
	}, nil
}
