package quorum

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// An outage lasts from the first attempt that found it, until nodes answer, or nobody has
// asked for so long that it says nothing.
func TestOutage(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		g := w.group
		want := func(what string, since time.Time) {
			t.Helper()
			if got := g.outageSince("k"); !got.Equal(since) {
				t.Errorf("%s: an outage since %v, want %v", what, got, since)
			}
		}
		fail := func() time.Time {
			begun := time.Now()
			time.Sleep(100 * time.Millisecond)
			g.noteOutage("k", begun)
			return time.Now()
		}
		want("at first", time.Time{})
		since := fail()
		for i := range 20 {
			time.Sleep(time.Duration(i) * 50 * time.Millisecond)
			fail()
			want(fmt.Sprint("asked again after ", i), since)
		}
		time.Sleep(1100 * time.Millisecond)
		want("while an attempt may be under way", since)
		since = fail()
		want("nobody asked for more than a second", since)
		time.Sleep(2 * time.Second)
		want("nobody has asked for two", time.Time{})
		since = fail()
		want("again", since)

		time.Sleep(time.Millisecond)
		release(w.mustAcquire("other")) // it is answered
		synctest.Wait()
		want("answered", time.Time{})
		since = fail()
		want("away again", since)
	})
}

// An outage of a part of a cluster is none of the others.
func TestOutageOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := NewGroup([]backend.Node{halves{FaultNode: faulty.NewFaultNode(memory.New())}}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		time.Sleep(time.Millisecond)
		g.noteOutage("h1", begun)
		if since := g.outageSince("k"); !since.IsZero() {
			t.Errorf("an outage of a part is one of another, since %v", since)
		}
		time.Sleep(time.Millisecond)
		a, res := g.acquire(t.Context(), nil, "k", "token", ttl, timeout)
		if res.Verdict != round.Won {
			t.Fatal(res)
		}
		if since := g.outageSince("h2"); since.IsZero() {
			t.Error("an answer of another part ended the outage")
		}
		a.Release(t.Context(), timeout)
	})
}
