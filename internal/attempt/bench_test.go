package attempt

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A pair is an acquisition and its release: what the core costs, over nodes that
// cost next to nothing.
func BenchmarkPair(b *testing.B) {
	for _, n := range []int{1, 3, 5} {
		for _, bare := range []bool{false, true} {
			name := fmt.Sprintf("N=%d", n)
			if bare {
				name += "/bare"
			}
			nodes := make([]backend.Node, n)
			for i := range nodes {
				nodes[i] = memory.New()
				if bare {
					nodes[i] = faulty.Bare(nodes[i])
				}
			}
			g, err := NewNodes(nodes, Config{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			var tokens atomic.Int64 // never used twice, also not by the benchmark's next try
			token := func() string { return strconv.FormatInt(tokens.Add(1), 10) }
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					pair(b, g, "k", token())
				}
			})
			b.Run(name+"/parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						t := token()
						pair(b, g, "k"+t, t)
					}
				})
			})
		}
	}
}

func pair(b *testing.B, g *Nodes, key, token string) {
	a, res := g.acquire(b.Context(), nil, key, token, 10*time.Second, 250*time.Millisecond)
	if res.Verdict != round.Won {
		b.Errorf("acquire: %v", res)
	}
	if res := a.Release(b.Context(), 250*time.Millisecond); res.Verdict != round.Won {
		b.Errorf("release: %v", res)
	}
}
