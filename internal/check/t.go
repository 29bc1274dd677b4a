package check

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	Long  = time.Minute           // life of a key that must not expire during a check
	Short = 60 * time.Millisecond // life of a key that must expire
	Call  = 10 * time.Second      // deadline of a call that should succeed

	// Attempts is how often a check repeats something that was late. A busy machine makes
	// everything late now and then. A node that is late each time is at fault.
	Attempts = 5

	// Patience is how long something may take that should happen at once.
	Patience = 5 * time.Second

	// Crowd is how many goroutines call a node at once. Many more would test connection
	// pools.
	Crowd = 16

	// expirySlack is how late a key may be seen to expire.
	expirySlack = 400 * time.Millisecond
)

// A Server provides nodes for checks, and what another client of their server can do.
// Only New is required. The hooks are never called concurrently.
type Server struct {
	// New returns a node for one check, with its server up, and a function that releases
	// its resources, or nil. It is called once for each check and once before all of
	// them. It may return the same node each time.
	New func(ctx context.Context) (n backend.Node, release func(), err error)

	// Prefix begins every name that a check uses. The default is the suite's name and a colon.
	Prefix string

	// Advance moves the server's clock forward. If it is nil, checks wait for that time
	// instead.
	Advance func(d time.Duration)

	// Set stores value at key for ttl, or forever if ttl is [backend.NoExpiry]. SetOther
	// stores a value that is not a string.
	Set      func(ctx context.Context, n backend.Node, key, value string, ttl time.Duration) error
	SetOther func(ctx context.Context, n backend.Node, key string) error
}

// A T is a running check.
type T struct {
	Ctx  context.Context // ends with the check
	Node backend.Node    // the node under check

	server  Server
	lacking []string // missing capabilities and hooks
	id      string   // part of every key, so that checks do not collide
	start   time.Time

	// Only the check's first goroutine uses these.
	numbers  int
	advanced time.Duration

	mu       sync.Mutex
	cleanups []func()
	failure  error
	skipped  string
	used     []string // capabilities and hooks

	// Published says that a hook has published messages. If one does not arrive, the hook
	// may be at fault.
	Published atomic.Bool
}

func (s Suite) newT(ctx context.Context, lacks []lack) *T {
	t := &T{Ctx: ctx, server: s.Server, id: Random(), start: time.Now()}
	t.server.Prefix = s.prefix()
	for _, l := range lacks {
		t.lacking = append(t.lacking, l.need)
	}
	return t
}

// Random returns a unique text.
func Random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Open makes a node, which is released when the check ends.
func (t *T) Open(make func(context.Context) (backend.Node, func(), error)) backend.Node {
	n, release, err := make(t.Ctx)
	if err != nil {
		t.Failf("the harness has no node: %w", err)
	}
	if release != nil {
		t.Defer(release)
	}
	if n == nil {
		t.Failf("the harness has no node: it returned nil")
	}
	return n
}

// Defer makes the check call f when it ends. The last f added is called first.
func (t *T) Defer(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *T) cleanUp() {
	t.mu.Lock()
	cleanups := t.cleanups
	t.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		t.Protect(f)
	}
}

// Need notes that the check needs a hook. It ends the check if the test has not set it.
func (t *T) Need(set bool, hook string) {
	t.Uses(hook)
	if !set {
		t.Failf("the harness has no %s, and the check does not say that it needs it", hook)
	}
}

// Has returns the node as an I, which the check needs.
func Has[I any](t *T, name string) I {
	t.Uses(name)
	c, ok := backend.As[I](t.Node)
	if !ok {
		t.Failf("the node is no %s, and the check does not say that it needs one", name)
	}
	return c
}

// Optional returns the node as an I if it is one and can work here. It is for checks that
// test more if so.
func Optional[I any](t *T, name string) (I, bool) {
	c, ok := backend.As[I](t.Node)
	return c, ok && !slices.Contains(t.lacking, name)
}

// Uses notes that the check uses a capability or a hook.
func (t *T) Uses(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.used, name) {
		t.used = append(t.used, name)
	}
}

// Supported skips the check if err says that the capability cannot work here.
func (t *T) Supported(err error) {
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("the node says that this is not supported: %v", err)
	}
}

// Name returns an unused name for a key, a token or a channel.
func (t *T) Name() string {
	return fmt.Sprintf("%s%s:%d", t.server.Prefix, t.id, t.Number())
}

// Number returns a number that is unique in this check.
func (t *T) Number() int {
	t.numbers++
	return t.numbers
}

// KeyFor returns a key that ends in text. The same text always gives the same key.
func (t *T) KeyFor(text string) string {
	return t.server.Prefix + t.id + ":" + text
}

// Clock returns the time since the start of the check, including any time by which the
// harness advanced the server's clock.
func (t *T) Clock() time.Duration { return time.Since(t.start) + t.advanced }

// Wait lets d pass on the server.
func (t *T) Wait(d time.Duration) {
	if t.server.Advance != nil {
		t.server.Advance(d)
		t.advanced += d
		return
	}
	if err := Sleep(t.Ctx, d); err != nil {
		t.Failf("the check has taken too long: %w", err)
	}
}

// Within calls f with a ctx that ends after d. It returns how long after that f returned,
// and f's error. It fails the check if f does not return.
func (t *T) Within(d time.Duration, f func(ctx context.Context) error) (late time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.Ctx, d)
	defer cancel()
	began := time.Now()
	done := make(chan struct{})
	var took time.Duration
	go func() {
		defer close(done)
		t.Protect(func() {
			err = f(ctx)
			took = time.Since(began)
		})
	}()
	if !within(d+Patience, done) {
		t.Failf("the call had %v and has not returned %v later", d, Patience)
	}
	t.StopIfFailed()
	return took - d, err
}

// Parallel runs f on n goroutines at once and waits for all of them.
func (t *T) Parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			t.Protect(func() {
				<-begin
				f(i)
			})
		})
	}
	close(begin)
	wg.Wait()
	t.StopIfFailed()
}

// StopIfFailed ends the check if one of its goroutines has failed.
func (t *T) StopIfFailed() {
	t.mu.Lock()
	failed := t.failure != nil || t.skipped != ""
	t.mu.Unlock()
	if failed {
		runtime.Goexit()
	}
}

// Eventually repeats f until it returns nil. It fails the check if that takes longer than
// Patience.
func (t *T) Eventually(what string, f func(ctx context.Context) error) {
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Ctx, time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Since(began) > Patience {
			t.Failf("%s: not within %v: %w", what, Patience, err)
		}
		if err := Sleep(t.Ctx, 5*time.Millisecond); err != nil {
			t.Failf("%s: the check has taken too long: %w", what, err)
		}
	}
}

// Quote quotes text for a message, and cuts it if it is long.
func Quote(text string) string {
	if len(text) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", text[:80], len(text))
	}
	return fmt.Sprintf("%q", text)
}

// Sleep waits for d. If ctx ends first, it returns ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
