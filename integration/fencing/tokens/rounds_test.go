package tokens

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/quorum"
)

// Tokens take one round trip, but for a few, while many compete for a lock, and also
// where the clock of one of them is wrong: the clocks of the nodes count. How long
// anything takes does not matter here, and clients lock as the library does, but by its
// core, which alone lets their clocks be set.
func TestTokensInOneRoundTrip(t *testing.T) {
	const competitors, grants, share = 16, 1000, 0.95
	for _, behind := range []time.Duration{0, 10 * time.Second} {
		t.Run(fmt.Sprintf("one client %v behind", behind), func(t *testing.T) {
			list := servers.Start(t, servers.Any, 3)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := tally{second: map[string]bool{}, enough: grants, over: cancel}
			var wg sync.WaitGroup
			for i := range competitors {
				wrong := time.Duration(0)
				if i == 0 {
					wrong = behind
				}
				g := r.group(t, list, i, func() time.Time { return time.Now().Add(-wrong) })
				wg.Go(func() {
					for ctx.Err() == nil {
						if r.lock(ctx, t, g) {
							r.granted(i)
						}
					}
				})
			}
			wg.Wait()

			one := 1 - float64(len(r.second))/float64(r.grants)
			t.Logf("%d tokens, %.1f %% of them in one round trip; the first client had %d, %d of them in two",
				r.grants, 100*one, r.first, r.firstSecond)
			if r.grants < grants || r.first == 0 {
				t.Error("too little has happened for this to show anything")
			}
			if one < share {
				t.Errorf("%.3f of the tokens took one round trip, want %v", one, share)
			}
			if r.wrong != "" {
				t.Error(r.wrong)
			}
		})
	}
}

// tally is what became of clients that compete.
type tally struct {
	enough int
	over   func() // called when there have been so many grants

	mu     sync.Mutex
	second map[string]bool // tokens of the locks for which a vote was raised
	grants int
	first  int // of which the first client had so many
	last   uint64
	wrong  string

	firstSecond int
}

// group returns the core of the i-th client, on connections of its own, whose clock
// is wall.
func (r *tally) group(t *testing.T, list []*servers.Server, i int, wall func() time.Time) *quorum.Group {
	t.Helper()
	d := drivers.All[i%len(drivers.All)]
	var nodes []backend.Node
	for _, s := range list {
		n := faulty.NewFaultNode(d.Node(t, s.Addr()))
		n.Set(r.raises(i))
		nodes = append(nodes, n)
	}
	g, err := quorum.NewGroup(nodes, quorum.Config{
		Inbox: func() string { return "inbox:" + rand.Text() }, CounterLife: time.Hour, Clock: &quorum.Clock{Wall: wall},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// lock locks once and unlocks, and reports whether it had the lock before ctx ended.
func (r *tally) lock(ctx context.Context, t *testing.T, g *quorum.Group) bool {
	const ttl, timeout = 10 * time.Second, time.Second
	f, err := g.Fencing(key)
	if err != nil {
		t.Error(err)
		return false
	}
	w, err := g.Join(ctx, key, time.Now(), nil)
	if err != nil {
		return false
	}
	defer w.Leave()
	for {
		a, res := w.AcquireFenced(ctx, f, rand.Text(), ttl, timeout)
		if res.Verdict == quorum.Won {
			r.check(a.Fence())
			a.Release(context.Background(), timeout)
			return true
		}
		if w.Wait(ctx, 10*time.Millisecond, 0) != nil {
			return false
		}
	}
}

// check takes the token of the one that holds the lock, which is the highest.
func (r *tally) check(fence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fence <= r.last {
		r.wrong = fmt.Sprintf("%d came after %d", fence, r.last)
	}
	r.last = fence
}

// granted counts a lock of a client.
func (r *tally) granted(client int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants++
	if client == 0 {
		r.first++
	}
	if r.grants == r.enough {
		r.over()
	}
}

// raises notes which locks of a client have a vote raised.
func (r *tally) raises(client int) faulty.Fault {
	return func(ctx context.Context, ops []backend.Op, send faulty.Send) []backend.Result {
		for _, op := range ops {
			if op.Kind == backend.OpEval && op.Script == lua.Raise {
				r.raised(client, op.Args[0])
			}
		}
		return send(ctx, ops)
	}
}

func (r *tally) raised(client int, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if client == 0 && !r.second[token] {
		r.firstSecond++
	}
	r.second[token] = true
}
