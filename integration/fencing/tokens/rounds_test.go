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
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
)

// While many clients compete for a lock, almost all tokens take one round trip. This holds even
// if the clock of one client is wrong, because the clocks of the nodes count. The duration does
// not matter here. Clients use the core of the library directly, because only the core allows a
// test to set their clocks.
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
				own := &clock.Clock{Wall: func() time.Time { return time.Now().Add(-wrong) }}
				g := r.group(t, list, i, own)
				wg.Go(func() {
					for ctx.Err() == nil {
						if r.lock(ctx, t, g, own) {
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
				t.Error("too little has happened for the test to prove anything")
			}
			if one < share {
				t.Errorf("%.3f of the tokens took one round trip, want %v", one, share)
			}
			if r.wrong != "" {
				t.Error("unsafe: ", r.wrong)
			}
		})
	}
}

// tally counts the results of the competing clients.
type tally struct {
	enough int
	over   func() // called after enough grants

	mu     sync.Mutex
	second map[string]bool // tokens of the locks whose vote was raised
	grants int
	first  int // number of locks of the first client
	last   uint64
	wrong  string

	firstSecond int
}

// group returns the core of client i, on its own connections. own is the client's clock.
func (r *tally) group(t *testing.T, list []*servers.Server, i int, own *clock.Clock) *quorum.Group {
	t.Helper()
	d := drivers.All[i%len(drivers.All)]
	var nodes []backend.Node
	for _, s := range list {
		n := faulty.NewFaultNode(d.Node(t, s.Addr()))
		n.Set(r.raises(i))
		nodes = append(nodes, n)
	}
	g, err := quorum.NewGroup(nodes, quorum.Config{
		Inbox:  func() string { return "inbox:" + rand.Text() },
		Config: attempt.Config{CounterLife: time.Hour, Clock: own},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// lock locks once and unlocks, and reports whether it had the lock before ctx ended.
func (r *tally) lock(ctx context.Context, t *testing.T, g *quorum.Group, own *clock.Clock) bool {
	const ttl, timeout = 10 * time.Second, time.Second
	f, err := g.Fencing(key)
	if err != nil {
		t.Error(err)
		return false
	}
	held, res := g.Lock(ctx, quorum.Request{
		Key: key, Fencing: f, TTL: ttl, Timeout: timeout, Start: own.Now(), Queue: true, Patience: ttl, Caller: caller{},
	})
	if res.Verdict != round.Won {
		return false
	}
	r.check(held.Fence())
	held.Release(context.Background(), timeout)
	return true
}

// caller is the Caller of every lock.
type caller struct{}

func (caller) Token() string                       { return rand.Text() }
func (caller) Attempted(round.Result)              {}
func (caller) Waits(context.Context, round.Result) {}
func (caller) Pause(bool) (time.Duration, bool)    { return 10 * time.Millisecond, true }

// check reads the token of the current holder, which must be the highest.
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

// raises records the locks of a client whose vote is raised.
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
