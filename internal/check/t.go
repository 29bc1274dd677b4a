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
	Long  = time.Minute           // the life of a key that must not expire during a check
	Short = 60 * time.Millisecond // of one that must
	Call  = 10 * time.Second      // the deadline of a call that is to succeed

	// Attempts is how often what was late is tried again. A busy machine makes everything
	// late now and then: a node that is late each time is to blame.
	Attempts = 5

	// Patience is how long what should happen at once may take.
	Patience = 5 * time.Second

	// Crowd is how many goroutines call a node at once. Many more would be a test
	// of pools.
	Crowd = 16

	// expirySlack is how late the end of a key's life may be seen.
	expirySlack = 400 * time.Millisecond
)

// A Server is what checks are made on: a way to get nodes, and what another client of their
// server can do. Only New is required. The hooks are never called concurrently.
type Server struct {
	// New returns a node for one check, with its server up, and a function that releases
	// what it holds, or nil. It is called once for each check, and once before, and may
	// return the same node each time.
	New func(ctx context.Context) (n backend.Node, release func(), err error)

	// Prefix begins every name that a check uses. The default is the suite's name and a colon.
	Prefix string

	// Advance moves the server's clock forward. If it is nil, checks wait for as long.
	Advance func(d time.Duration)

	// Set stores value at key for ttl, for ever if it is [backend.NoExpiry]. SetOther
	// stores a value that is no string.
	Set      func(ctx context.Context, n backend.Node, key, value string, ttl time.Duration) error
	SetOther func(ctx context.Context, n backend.Node, key string) error
}

// A T is a check under way.
type T struct {
	Ctx  context.Context // ends with the check
	Node backend.Node    // under check

	server  Server
	lacking []string // the capabilities and hooks that are missing
	id      string   // in every key, so that no two checks meet
	start   time.Time

	// These belong to the check's first goroutine.
	numbers  int
	advanced time.Duration

	mu       sync.Mutex
	cleanups []func()
	failure  error
	skipped  string
	used     []string // the hooks and capabilities

	// Published says that a hook has published messages: if one is not heard, that may be
	// the hook's fault.
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

// Random returns a text that nobody else uses.
func Random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Open makes a node, to be released when the check ends.
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

// Defer has f called when the check ends, the last one first.
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

// Need notes that the check needs the hook of that name. One that the test has not set
// ends it.
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

// Optional returns the node as an I, if it is one and can be it here, for a check that
// sees more then.
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

// Name returns a name for a key, a token or a channel that nobody has used.
func (t *T) Name() string {
	return fmt.Sprintf("%s%s:%d", t.server.Prefix, t.id, t.Number())
}

// Number returns a number that it has not returned before in this check.
func (t *T) Number() int {
	t.numbers++
	return t.numbers
}

// KeyFor returns a key that ends in text; a text always has the same key.
func (t *T) KeyFor(text string) string {
	return t.server.Prefix + t.id + ":" + text
}

// Clock returns the time of the check, by the server's clock if the harness
// advances it.
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

// Within calls f with a ctx that has so long to live. It returns how much too
// late f returned, and f's error. A call that does not come back fails the check.
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

// Parallel runs f on so many goroutines at once and waits for all.
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

// StopIfFailed ends the check if a goroutine of it has failed.
func (t *T) StopIfFailed() {
	t.mu.Lock()
	failed := t.failure != nil || t.skipped != ""
	t.mu.Unlock()
	if failed {
		runtime.Goexit()
	}
}

// Eventually waits until f returns nil, and fails the check if it does not.
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

// Quote returns text for a message, cut if it is long.
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
