package joint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
)

const (
	ttl   = 10 * time.Second
	pause = 10 * time.Millisecond // between attempts of a caller that polls, and after a loss
)

var errEnded = errors.New("the lock has ended")

// A rig is a call for keys on one node in memory. It notes what the call does.
type rig struct {
	t     *testing.T
	mem   *memory.Node
	fault *faulty.FaultNode
	group *quorum.Group
	keys  []*key
	call  Call
	queue bool // the call waits in the queues

	mu   sync.Mutex
	said []string
}

// onRig runs f in a bubble of virtual time, with a call for keys that are called a, b, c ….
func onRig(t *testing.T, n int, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, mem: memory.New()}
		r.fault = faulty.NewFaultNode(r.mem)
		var err error
		if r.group, err = quorum.NewGroup([]backend.Node{r.fault}, quorum.Config{}); err != nil {
			t.Fatal(err)
		}
		r.call = Call{Group: r.group, Clock: new(clock.Clock), Locks: make([]Lock, n)}
		for i := range n {
			k := &key{r: r, name: string(rune('a' + i))}
			r.keys, r.call.Keys = append(r.keys, k), append(r.call.Keys, k)
		}
		f(t, r)
		r.fault.Clear()
		r.call.GiveBack(context.Background())
		time.Sleep(time.Hour)
	})
}

func (r *rig) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// did fails the test unless the call has done this since the last time, and nothing else.
func (r *rig) did(want ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.said, want) {
		r.t.Errorf("it did\n%s\nwant\n%s", strings.Join(r.said, ", "), strings.Join(want, ", "))
	}
	r.said = nil
}

// some fails the test unless the node has these keys, one letter each, and no others. In
// capitals they are those of somebody else.
func (r *rig) some(want string) {
	r.t.Helper()
	synctest.Wait()
	got := ""
	for _, k := range r.keys {
		switch e, _ := r.mem.Inspect(context.Background(), k.name); {
		case e.Value == "other":
			got += strings.ToUpper(k.name)
		case e.Found:
			got += k.name
		}
	}
	if got != want {
		r.t.Errorf("the node has %q, want %q", got, want)
	}
}

// taken lets somebody else have key i, for that long.
func (r *rig) taken(i int, d time.Duration) { r.mem.Set(r.keys[i].name, "other", d) }

// acquires runs the call with a limit.
func (r *rig) acquires(limit time.Duration) error {
	limited, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return r.call.Acquire(context.Background(), limited)
}

// fails runs the call, and returns how it has failed.
func (r *rig) fails(limit time.Duration) *Failure {
	r.t.Helper()
	var f *Failure
	if err := r.acquires(limit); !errors.As(err, &f) {
		r.t.Fatalf("%v, want a Failure", err)
	}
	return f
}

// A key is one of a call, and its lock.
type key struct {
	r      *rig
	name   string
	closed error // of Keep
	final  error // of Lost
	once   bool  // it does not ask again
	outer  bool  // ctx held it before
	stale  bool
	fails  error     // of Extend
	then   func()    // during Extend
	until  time.Time // then the lock has ended, if anybody asks; zero: never

	won    *quorum.Held
	tokens atomic.Int32 // how many attempts
	told   string       // what the hooks were told last
	waited bool         // of Stale
	limits []bool       // whether the ctx of each Extend had a deadline

	mu      sync.Mutex
	err     error
	cancels []context.CancelCauseFunc
}

// ends ends the lock.
func (k *key) ends() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = errEnded
	for _, cancel := range k.cancels {
		cancel(errEnded)
	}
	k.cancels = nil
}

func (k *key) Request(start clock.Instant) quorum.Request {
	return quorum.Request{Key: k.name, TTL: ttl, Timeout: time.Second, Start: start, Queue: k.r.queue, Patience: ttl, Caller: k}
}

func (k *key) Token() string { return fmt.Sprint(k.name, k.tokens.Add(1)) }

func (k *key) Attempted(round.Result) {}

func (k *key) Waits(context.Context, round.Result) { k.tell("waits") }

func (k *key) Pause(bool) (time.Duration, bool) { return pause, !k.once }

func (k *key) Keep(_ context.Context, won quorum.Held) (Lock, error) {
	k.tell("keep")
	if k.closed != nil {
		won.Abandon()
		return nil, k.closed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.won, k.err = &won, nil
	return k, nil
}

func (k *key) Lost(_ context.Context, why error, losses int) (time.Duration, error) {
	k.r.say("lost %s %d", k.name, losses)
	if why != errEnded {
		k.r.t.Errorf("%s was lost because of %v", k.name, why)
	}
	return pause, k.final
}

func (k *key) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil && !k.until.IsZero() && !time.Now().Before(k.until) {
		return errEnded
	}
	return k.err
}

func (k *key) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancels = append(k.cancels, cancel)
	return ctx
}

func (k *key) Tell() { k.tell("tell") }

// tell notes what the hooks are told, once.
func (k *key) tell(what string) {
	if k.told != what {
		k.told = what
		k.r.say("%s %s", what, k.name)
	}
}

func (k *key) Preserve() { k.r.say("preserve %s", k.name) }

func (k *key) Stale(waited bool) bool {
	k.waited = waited
	return k.stale
}

func (k *key) Extend(ctx context.Context) error {
	_, limited := ctx.Deadline()
	k.limits = append(k.limits, limited)
	time.Sleep(time.Second)
	k.r.say("extend %s", k.name)
	if k.then != nil {
		k.then()
	}
	return k.fails
}

func (k *key) GiveBack(_ context.Context, again bool) (tell func(), ok bool) {
	k.r.say("back %s %v", k.name, again)
	if k.outer && again {
		return nil, false
	}
	if k.won != nil {
		k.won.Abandon()
		k.won = nil
	}
	return func() { k.r.say("told %s", k.name) }, true
}
