package redlock

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// prompt is a node that grants everything at once.
type prompt string

func (n prompt) Name() string { return string(n) }

func (n prompt) SetNX(context.Context, string, string, time.Duration) (bool, error) { return true, nil }

func (n prompt) EvalDelete(context.Context, string, string) (bool, error) { return true, nil }

func (n prompt) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return true, nil
}

// BenchmarkPair measures a lock and its unlock without the time of the nodes.
func BenchmarkPair(b *testing.B) {
	for _, size := range []int{1, 3, 5} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var nodes []backend.Node
			for i := range size {
				nodes = append(nodes, prompt(fmt.Sprint("n", i)))
			}
			l, err := New(nodes)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				lock, err := l.Lock(b.Context(), "orders/42")
				if err != nil {
					b.Fatal(err)
				}
				if err := lock.Unlock(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
