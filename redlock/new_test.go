package redlock

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// New rejects a bad setup, and says what is wrong with it.
func TestNewRejects(t *testing.T) {
	a, b := memory.New(memory.WithName("a")), memory.New(memory.WithName("b"))
	good := []backend.Node{a, b, memory.New()}
	var none *memory.Node
	tests := []struct {
		name  string
		nodes []backend.Node
		opts  []Option
		want  string // in the error's text
	}{
		{"no nodes", nil, nil, "no nodes"},
		{"nil node", []backend.Node{a, nil, b}, nil, "node 1 is nil"},
		{"nil pointer", []backend.Node{a, none}, nil, "node 1 is nil"},
		{"node twice", []backend.Node{a, b, a}, nil, "nodes 0 and 2 are the same, a"},
		{"bare node twice", []backend.Node{faulty.Bare(a), b, faulty.Bare(a)}, nil, "nodes 0 and 2 are the same"},
		{"name twice", []backend.Node{a, memory.New(memory.WithName("a"))}, nil, "nodes 0 and 1 are the same, a"},
		{"nil option", good, []Option{nil}, "an option that is nil"},
		{"TTL 0", good, []Option{WithTTL(0)}, "a TTL of 0s: must be positive"},
		{"TTL negative", good, []Option{WithTTL(-time.Second)}, "a TTL of -1s: must be positive"},
		{"TTL below a millisecond", good, []Option{WithTTL(time.Millisecond - 1)}, "a TTL of 999.999µs: must be at least 1ms"},
		{"TTL without validity", good, []Option{WithTTL(2 * time.Millisecond)}, "a TTL of 2ms leaves no validity: the drift allowance is 2.02ms"},
		{"TTL eaten by the drift", good, []Option{WithDrift(0.9), WithTTL(20 * time.Millisecond)}, "a TTL of 20ms leaves no validity: the drift allowance is 20ms"},
		{"owner", good, []Option{WithOwner("~me")}, `an owner label of "~me": must not begin with ~`},
		{"node timeout", good, []Option{WithNodeTimeout(0)}, "a node timeout of 0s: must be positive"},
		{"drift negative", good, []Option{WithDrift(-0.1)}, "a drift of -0.1: must be at least 0 and less than 1"},
		{"drift 1", good, []Option{WithDrift(1)}, "a drift of 1: must"},
		{"drift NaN", good, []Option{WithDrift(math.NaN())}, "a drift of NaN: must"},
		{"quorum 0", good, []Option{WithQuorum(0)}, "a quorum of 0: must be a majority"},
		{"quorum too small", good, []Option{WithQuorum(1)}, "a quorum of 1 of 3 nodes: must be a majority, from 2 to 3"},
		{"quorum too large", good, []Option{WithQuorum(4)}, "a quorum of 4 of 3 nodes: must be a majority, from 2 to 3"},
		{"logger", good, []Option{WithLogger(nil)}, "a logger that is nil"},
		{"hold", good, []Option{WithMaxHold(0)}, "a maximal hold of 0s: must be positive"},
		{"hold below the TTL", good, []Option{WithTTL(3 * time.Second), WithMaxHold(time.Second)}, "a maximal hold of 1s: must not be shorter than the TTL, 3s"},
		{"delay", good, []Option{WithRetry(Fixed(-1))}, "a retry delay of -1ns: must not be negative"},
		{"exponential from 0", good, []Option{WithRetry(Exponential(0, time.Second))}, "an exponential retry delay from 0s to 1s"},
		{"exponential falling", good, []Option{WithRetry(Exponential(time.Minute, time.Second))}, "an exponential retry delay from 1m0s to 1s"},
		{"limit 0", good, []Option{WithRetry(Fixed(0).Limit(0))}, "a limit of 0 tries: must be at least 1"},
		{"limit negative", good, []Option{WithRetry(Fixed(0).Limit(-3))}, "a limit of -3 tries"},
		{"retry function", good, []Option{WithRetry(RetryFunc(nil))}, "a retry function that is nil"},
		{"retry function with more", good, []Option{WithRetry(RetryFunc(nil).Jitter().Limit(1))}, "a retry function that is nil"},
		{"jitter of nothing", good, []Option{WithRetry(RetryPolicy{}.Jitter())}, "Jitter of the zero RetryPolicy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := New(tt.nodes, tt.opts...)
			if err == nil || l != nil {
				t.Fatalf("New returned %v, %v; want an error", l, err)
			}
			if !strings.HasPrefix(err.Error(), "redlock: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want it to begin with %q and to contain %q", err, "redlock: ", tt.want)
			}
		})
	}
}

// New does no I/O. Zero values with a meaning are accepted.
func TestNewAccepts(t *testing.T) {
	r := newRig(t, 3, false)
	r.locker()
	r.locker(WithDrift(0), WithTTL(3*time.Millisecond))
	r.locker(WithTTL(longestTTL))
	r.locker(WithRetry(Fixed(0)), WithRetry(RetryPolicy{}), WithRetry(RetryPolicy{}.Limit(1)))
	r.locker(WithOwner(""), WithKeyPrefix(""), WithAnnounce(""), WithQuorum(3), WithNodeTimeout(1), WithHooks(Hooks{}))
	r.locker(WithTTL(time.Second), WithMaxHold(time.Second))
	if n := r.calls(); n > 0 {
		t.Errorf("New made %d calls", n)
	}
	if _, err := New(r.nodes[:2]); err != nil { // an even number is of little use, but safe
		t.Error(err)
	}
}

// Calls reject bad input before any I/O, with an error that names the call and the key.
func TestCallsReject(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker(WithKeyPrefix("app:"))
	ctx := t.Context()
	lock := func(key string, opts ...LockOption) error {
		_, err := l.Lock(ctx, key, opts...)
		return err
	}
	resume := func(key, token string, opts ...ResumeOption) error {
		_, err := l.Resume(ctx, NewHandover("app:"+key, token, 0), opts...)
		return err
	}
	resumeFence := func(fence uint64) error {
		_, err := l.Resume(ctx, NewHandover("app:k", "x", fence))
		return err
	}
	tryLock := func(key string, opts ...LockOption) error {
		_, err := l.TryLock(ctx, key, opts...)
		return err
	}
	inspect := func(key string) error {
		_, err := l.Inspect(ctx, key)
		return err
	}
	held := r.lock(l, "held")
	for _, f := range r.fault {
		f.Forget()
	}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"empty key", lock(""), "redlock: lock: an empty key"},
		{"TryLock empty key", tryLock(""), "redlock: lock: an empty key"},
		{"Do empty key", l.Do(ctx, "", nil), "redlock: do: an empty key"},
		{"Resume empty key", resume("", "x"), "redlock: resume: an empty key"},
		{"Release empty key", l.Release(ctx, NewHandover("", "x", 0)), "redlock: release: an empty key"},
		{"Inspect empty key", inspect(""), "redlock: inspect: an empty key"},
		{"Mutex empty key", l.Mutex("").Lock(ctx), "redlock: lock: an empty key"},
		{"nil option", lock("k", nil), `redlock: lock "app:k": an option that is nil`},
		{"TTL", tryLock("k", WithTTL(0)), `redlock: lock "app:k": a TTL of 0s: must be positive`},
		{"TTL without validity", lock("k", WithTTL(2*time.Millisecond)), `redlock: lock "app:k": a TTL of 2ms leaves no validity: the drift allowance is 2.02ms`},
		{"owner", lock("k", WithOwner("~")), `redlock: lock "app:k": an owner label of "~": must not begin with ~, which marks reservations`},
		{"retry", lock("k", WithRetry(Fixed(-time.Second))), `redlock: lock "app:k": a retry delay of -1s: must not be negative`},
		{"hold", lock("k", WithMaxHold(-1)), `redlock: lock "app:k": a maximal hold of -1ns: must be positive`},
		{"hold below the TTL", lock("k", WithMaxHold(time.Second)), `redlock: lock "app:k": a maximal hold of 1s: must not be shorter than the TTL, 10s`},
		{"Mutex option", l.Mutex("k", WithTTL(-1)).Lock(ctx), `redlock: lock "app:k": a TTL of -1ns: must be positive`},
		{"Do without a function", l.Do(ctx, "k", nil), `redlock: do "app:k": a function that is nil`},
		{"Resume empty token", resume("k", ""), `redlock: resume "app:k": an empty token`},
		{"Resume reserved token", resume("k", "~x"), `redlock: resume "app:k": a token must not begin with ~, which marks reservations`},
		{"Resume option", resume("k", "x", WithTTL(0)), `redlock: resume "app:k": a TTL of 0s: must be positive`},
		{"Release empty token", l.Release(ctx, NewHandover("app:k", "", 0)), `redlock: release "app:k": an empty token`},
		{"Release reserved token", l.Release(ctx, NewHandover("app:k", "~x", 0)), `redlock: release "app:k": a token must not begin with ~, which marks reservations`},
		{"Resume fence", resumeFence(1 << 63), `redlock: resume "app:k": a fencing token of 9223372036854775808: must be from 1 to 2^53 - 1, or 0 for none`},
		{"Release fence", l.Release(ctx, NewHandover("app:k", "x", 1<<63)), `redlock: release "app:k": a fencing token of 9223372036854775808: must be from 1 to 2^53 - 1, or 0 for none`},
		{"Extend 0", held.Extend(ctx, 0), `redlock: extend "app:held": a TTL of 0s: must be positive`},
		{"Extend below a millisecond", held.Extend(ctx, time.Millisecond-1), `redlock: extend "app:held": a TTL of 999.999µs: must be at least 1ms`},
		{"Extend without validity", held.Extend(ctx, 2*time.Millisecond), `redlock: extend "app:held": a TTL of 2ms leaves no validity: the drift allowance is 2.02ms`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil || tt.err.Error() != tt.want {
				t.Errorf("error %q, want %q", tt.err, tt.want)
			}
			if q := (*QuorumError)(nil); errors.As(tt.err, &q) {
				t.Error("bad input returned a *QuorumError, as if nodes had been asked")
			}
		})
	}
	if n := r.calls(); n > 0 {
		t.Errorf("rejected calls made %d calls of nodes", n)
	}
}
