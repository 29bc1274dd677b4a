package lease

import (
	"testing"
	"testing/synctest"
	"time"
)

// A lease becomes shared only while it has one handle. From then on only readers enter it.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.begin("k", time.Minute, 0)
		var other, reader Handle
		if err := o.handle.Enter(&other, false); err != nil || o.Share() || o.Shared() {
			t.Fatalf("a lease with two handles: %v, shared: %v", err, o.Shared())
		}
		other.BeginUnlock()
		if last, lost, err := other.Leave(w.keeper.Clock.Now()); last || lost != nil || err != nil {
			t.Fatalf("leave: %v, %v", last, err)
		}
		if !o.Share() || !o.Shared() {
			t.Error("a lease with one handle is not shared")
		}
		if err := o.handle.Enter(new(Handle), false); err != ErrShared {
			t.Errorf("another handle on a shared lease: %v, want ErrShared", err)
		}
		if err := o.handle.Enter(&reader, true); err != nil || !o.Share() {
			t.Errorf("another reader of a shared lease: %v, shared: %v", err, o.Shared())
		}
		o.End(errReleased)
	})
}
