package redlock

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// A crowded node never gets a free connection.
type crowded struct {
	backend.Node
	busy atomic.Bool
}

func (c *crowded) Hindered() error {
	if c.busy.Load() {
		return errors.New("no free connection in the pool (size 1)")
	}
	return nil
}

// The error of a time-out contains what is known about the reason.
func TestLateNodes(t *testing.T) {
	for _, n := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var nodes []backend.Node
			var faults []*faulty.FaultNode
			var clients []*crowded
			for range n {
				f := faulty.NewFaultNode(memory.New())
				c := &crowded{Node: f}
				faults, clients, nodes = append(faults, f), append(clients, c), append(nodes, c)
			}
			l, err := New(nodes)
			if err != nil {
				t.Fatal(err)
			}
			all := func(f faulty.Fault) {
				for _, node := range faults {
					node.Set(f)
				}
			}
			fails := func(want string) {
				t.Helper()
				_, err := l.TryLock(t.Context(), "k")
				if err == nil || !errors.Is(err, ErrUnavailable) || strings.Count(err.Error(), want) != n {
					t.Errorf("%d nodes: got %v, want %q for each", n, err, want)
				}
			}
			all(faulty.Delay(300 * time.Millisecond))
			fails("raise the node timeout of 250ms with redlock.WithNodeTimeout")
			time.Sleep(10 * time.Second)
			fails("answers take longer than the node timeout of 250ms")
			time.Sleep(10 * time.Second)

			all(faulty.Hang())
			for _, c := range clients {
				c.busy.Store(true)
			}
			fails("timed out after 250ms: no free connection in the pool (size 1)")
			time.Sleep(time.Second)
			all(faulty.Delay(0))
			for _, c := range clients {
				c.busy.Store(false)
			}
			time.Sleep(10 * time.Second)
			lock, err := l.TryLock(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Second)
			all(faulty.Hang())
			_, err = l.TryLock(t.Context(), "k")
			if err == nil || strings.Contains(err.Error(), "node timeout of") || strings.Contains(err.Error(), "pool") {
				t.Errorf("%d nodes that hang: %v, want no invented reason", n, err)
			}
			all(faulty.Delay(0))
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
