package fence_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/fence"
)

// Forget drops resources that were idle for the given time, and no others.
func TestGuardsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g fence.Guards
		announce := func(resource string, token uint64, want error) {
			t.Helper()
			if err := g.Announce(resource, token); !errors.Is(err, want) {
				t.Errorf("Announce(%q, %d): %v, want %v", resource, token, err, want)
			}
		}
		forget := func(idle time.Duration, want int) {
			t.Helper()
			if n := g.Forget(idle); n != want {
				t.Errorf("Forget(%v) dropped %d resources, want %d", idle, n, want)
			}
		}
		forget(0, 0) // there is nothing yet
		announce("old", 10, nil)
		time.Sleep(time.Hour)
		announce("new", 10, nil)
		forget(2*time.Hour, 0)
		announce("old", 9, fence.ErrStale) // a rejection counts as use
		time.Sleep(time.Hour)
		forget(time.Hour+1, 0)
		forget(time.Hour, 2)
		announce("old", 9, nil) // token 10 is forgotten

		// A resource in use stays, however long the use takes.
		err := g.Do("busy", 5, func() error {
			time.Sleep(24 * time.Hour)
			forget(time.Hour, 1) // drops "old"
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		forget(time.Nanosecond, 0) // was in use until now
		announce("busy", 4, fence.ErrStale)
		if err := g.Announce("zero", 0); err == nil {
			t.Error("token 0 was accepted")
		}
		forget(0, 1) // drops "busy"; the rejected 0 leaves nothing
	})
}

// A resource that somebody waits for is in use.
func TestGuardsForgetWaitedFor(t *testing.T) {
	var g fence.Guards
	data := 0
	in, entering, out := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go g.Do("r", 1, func() error { close(in); <-out; data++; return nil })
	<-in
	done := make(chan error)
	go func() {
		close(entering)
		done <- g.Do("r", 2, func() error { data++; return nil })
	}()
	<-entering
	for range 100 {
		if n := g.Forget(0); n != 0 {
			t.Fatalf("%d resources in use were forgotten", n)
		}
		runtime.Gosched()
	}
	close(out)
	if err := <-done; err != nil || data != 2 {
		t.Errorf("%v, %d writes, want 2", err, data)
	}
}

// The memory of a remembered resource, and the time that Forget takes.
func BenchmarkGuardsMemory(b *testing.B) {
	const resources = 1_000_000
	names := make([]string, resources)
	for i := range names {
		names[i] = fmt.Sprint("orders/", i)
	}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var g fence.Guards
		for i, name := range names {
			if err := g.Announce(name, uint64(i)+1); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/resources, "B/resource")
		start := time.Now()
		if n := g.Forget(time.Hour); n != 0 {
			b.Fatalf("Forget dropped %d", n)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/forget")
		runtime.KeepAlive(&g)
	}
}

func BenchmarkGuardDo(b *testing.B) {
	nothing := func() error { return nil }
	b.Run("Guard", func(b *testing.B) {
		var g fence.Guard
		b.ReportAllocs()
		for b.Loop() {
			if err := g.Do(1, nothing); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Guards", func(b *testing.B) {
		var g fence.Guards
		b.ReportAllocs()
		for b.Loop() {
			if err := g.Do("orders/42", 1, nothing); err != nil {
				b.Fatal(err)
			}
		}
	})
}
