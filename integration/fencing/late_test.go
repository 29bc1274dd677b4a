package fencing

import (
	"errors"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/quorumlock/quorumlock/fence"
)

// lateWrite lets the holder of token 1 read and pause, and the holder of token 2 read. Then both
// write a result of their read, the late holder first. It returns the final value, and the late
// write's error.
func lateWrite(t *testing.T, r register) (end string, late error) {
	t.Helper()
	first, err := r.read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.read(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	late = r.write(t.Context(), 1, first+"1")
	if err := r.write(t.Context(), 2, second+"2"); err != nil {
		t.Fatal(err)
	}
	if end, err = r.read(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	return end, late
}

// A late write between a new holder's read and its write is rejected, although nothing was
// written with the new token yet.
func TestLateWrite(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		r := record(t, k.make(t))
		end, late := lateWrite(t, r)
		if end != "2" {
			t.Errorf("the final value is %q, want 2", end)
		}
		if stale := errors.Is(late, fence.ErrStale); stale != k.fenced {
			t.Errorf("the late write: %v; without a fence it is lost silently", late)
		}
		if got := r.check(); (got == porcupine.Ok) != k.fenced {
			t.Errorf("the history is %v", got)
		}
	})
}

// Comparing tokens only in writes is not enough, and the check of histories detects that.
func TestLateWriteUnannounced(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		r := record(t, unannounced{newColumned(t, d)})
		end, late := lateWrite(t, r)
		if late != nil || end != "2" {
			t.Errorf("the late write: %v, then %q; want it accepted and lost, which is the reason for the rule", late, end)
		}
		if got := r.check(); got != porcupine.Illegal {
			t.Errorf("the history is %v, want Illegal", got)
		}
	})
}
