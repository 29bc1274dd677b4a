package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// A holder replaces the test that package servers needs. It keeps what was started until end.
type holder struct {
	testing.TB // nil: methods that are not defined below are not used
	err        error
	cleanups   []func()
}

func (h *holder) end() {
	for _, cleanup := range slices.Backward(h.cleanups) {
		cleanup()
	}
}

func (h *holder) Helper()                  {}
func (h *holder) Name() string             { return "rollout" }
func (h *holder) Context() context.Context { return context.Background() }
func (h *holder) Cleanup(f func())         { h.cleanups = append(h.cleanups, f) }
func (h *holder) Errorf(format string, args ...any) {
	h.err = errors.Join(h.err, fmt.Errorf(format, args...))
}
func (h *holder) Fatalf(format string, args ...any) { h.Errorf(format, args...); runtime.Goexit() }
func (h *holder) Fatal(args ...any)                 { h.Fatalf("%s", fmt.Sprint(args...)) }
func (h *holder) Skipf(format string, args ...any)  { h.Fatalf(format, args...) }
