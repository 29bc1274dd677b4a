package notify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// An inbox hears the nodes whose echoes arrive, and says why it does not hear the others. It
// asks waiters to look when a subscription was renewed, and ends when it is closed.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well, mute := memory.New(), faulty.NewFaultNode(memory.New())
		refusal := backend.MarkReply(errors.New("NOPERM this user has no permissions"))
		mute.Set(faulty.Refuse(refusal))
		var (
			mu       sync.Mutex
			messages []string
			why      error
			missed   int
		)
		locked := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		here := func() bool { return false }
		in := Open(Config{
			Channel: "inbox", Lock: "k",
			Nodes: []Node{
				{Node: well, Away: here, Mute: func(err error) { t.Error("a node that works is mute:", err) }},
				{}, // not subscribed to
				{Node: mute, Away: here, Mute: func(err error) { locked(func() { why = err }) }},
			},
			Message: func(node int, payload string) {
				if payload != echo {
					locked(func() { messages = append(messages, payload) })
				}
				if node != 0 {
					t.Errorf("node %d sent %q", node, payload)
				}
			},
			Missed:  func() { locked(func() { missed++ }) },
			Awaited: func() bool { return true },
		})
		start := time.Now()
		in.Await(context.Background(), time.Second)
		if time.Since(start) != 0 || !in.Hears(0) || in.Hears(1) || in.Hears(2) {
			t.Errorf("after %v it hears: %v, %v and %v, want the first alone, at once", time.Since(start), in.Hears(0), in.Hears(1), in.Hears(2))
		}
		synctest.Wait()
		if !errors.Is(why, refusal) {
			t.Errorf("why the third is mute: %v, want %v", why, refusal)
		}
		well.Publish("inbox", "gk")
		synctest.Wait()
		well.Disconnect()
		time.Sleep(MinResubscribe)
		synctest.Wait()
		well.Publish("inbox", "gl")
		synctest.Wait()
		if !slices.Equal(messages, []string{"gk", "gl"}) || missed != 1 || !in.Hears(0) {
			t.Errorf("messages %q, missed %d times, it hears: %v; want gk and gl, once, and true", messages, missed, in.Hears(0))
		}
		in.Close()
		synctest.Wait()
		if n := well.Publish("inbox", "gm"); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}
