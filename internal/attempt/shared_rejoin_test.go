package attempt

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A node that has lost a share gives it back beside another reader although a writer is queued,
// because the request says that the token reads elsewhere. The first request does not say so,
// and is refused.
func TestShareRejoinsPastWriter(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a, b := w.mustShare("k"), w.mustShare("k")
		go w.mem[0].Subscribe(t.Context(), "writer", backend.Events{Ready: func() {}, Message: func(string) {}})
		synctest.Wait()
		w.mem[0].Flush()
		if got := a.mustExtend(t, "the first extension"); len(got) != 0 || w.readers("k", a.Token()) != 3 {
			t.Errorf("after an extension %d nodes let it read, and %v did again; want 3 and none", w.readers("k", a.Token()), got)
		}
		queue, _ := proto.QueueKey("k")
		r, err := w.mem[0].Eval(t.Context(), lua.Acquire, []string{"k", queue}, []string{"w", "10000", "20:writer", "5000"})
		if err != nil || len(r) != 4 || r[2] != int64(0) {
			t.Fatalf("a writer: %v, %v, want a refusal and the rank 0", r, err)
		}
		c, res := w.group.share("k", w.token()) // a newcomer
		synctest.Wait()
		if res.Verdict != round.Won || w.readers("k", c.Token()) != 2 {
			t.Errorf("a newcomer: %v, on %d nodes, want 2", res, w.readers("k", c.Token()))
		}
		b.mustExtend(t, "an extension beside a reader and a writer")
		if got := w.readers("k", b.Token()); got != 3 {
			t.Errorf("after an extension beside a reader and a writer, %d nodes let it read, want 3", got)
		}
		if got := b.mustExtend(t, "the next extension"); !slices.Equal(got, []int{0}) {
			t.Errorf("%v let it read again, want node 0", got)
		}
		for _, reader := range []*Attempt{a, b, c} {
			reader.release()
		}
		synctest.Wait()
	})
}
