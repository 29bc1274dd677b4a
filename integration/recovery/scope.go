package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// A scope replaces the test that the packages for tests need. It ends at the first failure, and
// then cleans up.
type scope struct {
	testing.TB // nil: methods that are not defined below are not used
	name       string
	ctx        context.Context

	mu       sync.Mutex
	err      error
	cleanups []func()
}

// within runs f, cleans up after it, and returns the errors of both.
func within(name string, f func(*scope)) error {
	ctx, cancel := context.WithCancel(context.Background())
	s := &scope{name: name, ctx: ctx}
	done := make(chan struct{})
	go func() { // Fatal ends it
		defer close(done)
		defer func() {
			cancel()
			for _, cleanup := range slices.Backward(s.cleanups) {
				cleanup()
			}
		}()
		f(s)
	}()
	<-done
	return s.err
}

func (s *scope) Helper()                  {}
func (s *scope) Name() string             { return s.name }
func (s *scope) Context() context.Context { return s.ctx }

func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *scope) fail(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, errors.New(text))
}

func (s *scope) Error(args ...any)                 { s.fail(fmt.Sprint(args...)) }
func (s *scope) Errorf(format string, args ...any) { s.fail(fmt.Sprintf(format, args...)) }
func (s *scope) Fatal(args ...any)                 { s.Error(args...); runtime.Goexit() }
func (s *scope) Fatalf(format string, args ...any) { s.Errorf(format, args...); runtime.Goexit() }
func (s *scope) Skipf(format string, args ...any)  { s.Fatalf(format, args...) }
