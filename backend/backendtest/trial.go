package backendtest

import (
	"cmp"
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
	"github.com/quorumlock/quorumlock/backend/lua"
)

// defaultPrefix is that of a harness without one.
const defaultPrefix = "backendtest:"

const (
	long  = time.Minute           // the life of a key that must not expire during a check
	short = 60 * time.Millisecond // of one that must
	call  = 10 * time.Second      // the deadline of a call that is to succeed

	// slack is how late a call may return, and the end of a key's life be seen.
	// A busy machine makes everything late now and then, so what is late is tried
	// again, so many times: a node that is always late is to blame.
	callSlack   = 50 * time.Millisecond
	expirySlack = 400 * time.Millisecond
	attempts    = 5

	// patience is how long what should happen at once may take.
	patience = 5 * time.Second
)

// A trial is a check under way.
type trial struct {
	h     Harness
	ctx   context.Context
	n     backend.Node
	id    string // in every key, so that no two trials meet
	start time.Time

	// These belong to the check's first goroutine.
	names    int
	advanced time.Duration

	mu       sync.Mutex
	cleanups []func()
	failure  error
	skipped  string
	used     []string // the hooks and capabilities

	published atomic.Bool // by the harness
}

func random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// node makes a node, to be released when the check ends.
func (t *trial) node(make func(context.Context) (backend.Node, func(), error)) backend.Node {
	n, release, err := make(t.ctx)
	if err != nil {
		t.failf("the harness has no node: %w", err)
	}
	if release != nil {
		t.defers(release)
	}
	if n == nil {
		t.failf("the harness has no node: it returned nil")
	}
	return n
}

// defers has f called when the check ends, the last one first.
func (t *trial) defers(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *trial) cleanUp() {
	t.mu.Lock()
	cleanups := t.cleanups
	t.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		t.protect(f)
	}
}

// need notes that the check needs the hook of that name. One that the harness does
// not have ends it.
func (t *trial) need(has bool, hook string) {
	t.uses(hook)
	if !has {
		t.failf("the harness has no %s, and the check does not say that it needs it", hook)
	}
}

// has returns the node as a T, which the check needs.
func has[T any](t *trial, name string) T {
	t.uses(name)
	c, ok := backend.As[T](t.n)
	if !ok {
		t.failf("the node is no %s, and the check does not say that it needs one", name)
	}
	return c
}

// optional returns the node as a T, if it is one and can be it here, for a check that
// sees more then.
func optional[T any](t *trial, name string) (T, bool) {
	c, ok := backend.As[T](t.n)
	return c, ok && !slices.Contains(t.h.lacking, name)
}

func (t *trial) uses(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.used, name) {
		t.used = append(t.used, name)
	}
}

// supported skips the check if err says that the capability cannot work here.
func (t *trial) supported(err error) {
	if errors.Is(err, errors.ErrUnsupported) {
		t.skipf("the node says that this is not supported: %v", err)
	}
}

// name returns a name for a key, a token or a channel that nobody has used.
func (t *trial) name() string {
	t.names++
	return fmt.Sprintf("%s%s:%d", t.h.Prefix, t.id, t.names)
}

// keyFor returns a key that ends in text; a text always has the same key.
func (t *trial) keyFor(text string) string {
	return t.h.Prefix + t.id + ":" + text
}

// clock returns the time of the check, by the server's clock if the harness
// advances it.
func (t *trial) clock() time.Duration { return time.Since(t.start) + t.advanced }

// wait lets d pass on the server.
func (t *trial) wait(d time.Duration) {
	if t.h.Advance != nil {
		t.h.Advance(d)
		t.advanced += d
		return
	}
	if err := sleep(t.ctx, d); err != nil {
		t.failf("the check has taken too long: %w", err)
	}
}

// result performs op, which must not fail.
func (t *trial) result(op backend.Op) backend.Result {
	ctx, cancel := context.WithTimeout(t.ctx, call)
	defer cancel()
	r := op.Do(ctx, t.n)
	if r.Err != nil {
		if op.Kind == backend.OpEval {
			t.supported(r.Err)
			t.failf("script %s failed: %w", op.Script.Name(), r.Err)
		}
		t.failf("%v of key %s failed: %w", op.Kind, quote(op.Key), r.Err)
	}
	if r.OK && r.Reply != nil {
		t.failf("%v answered both true and %v", op.Kind, r.Reply)
	}
	return r
}

func (t *trial) trySetNX(key, token string, ttl time.Duration) bool {
	return t.result(backend.Op{Kind: backend.OpSetNX, Key: key, Token: token, TTL: ttl}).OK
}

func (t *trial) tryExtend(key, token string, ttl time.Duration) bool {
	return t.result(backend.Op{Kind: backend.OpExtend, Key: key, Token: token, TTL: ttl}).OK
}

// setNX fails the check unless SetNX answers want; situation says of which key.
func (t *trial) setNX(key, token string, ttl time.Duration, want bool, situation string) {
	if got := t.trySetNX(key, token, ttl); got != want {
		t.failf("SetNX of %s = %v, want %v", situation, got, want)
	}
}

func (t *trial) evalDelete(key, token string, want bool, situation string) {
	if got := t.result(backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: token}).OK; got != want {
		t.failf("EvalDelete of %s = %v, want %v", situation, got, want)
	}
}

func (t *trial) extend(key, token string, ttl time.Duration, want bool, situation string) {
	if got := t.tryExtend(key, token, ttl); got != want {
		t.failf("Extend of %s = %v, want %v", situation, got, want)
	}
}

// eval runs a script on one key, which must not fail.
func (t *trial) eval(s *backend.Script, key string, args ...string) backend.Reply {
	return t.evalKeys(s, []string{key}, args...)
}

// evalKeys runs a script, which must not fail.
func (t *trial) evalKeys(s *backend.Script, keys []string, args ...string) backend.Reply {
	return t.result(backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}).Reply
}

// An entry is what a key holds. The TTL is [backend.NoExpiry] if it does not expire.
type entry struct {
	Found bool
	Value string
	TTL   time.Duration
}

// inspect looks at key by a script, which must not fail.
func (t *trial) inspect(key string) entry {
	r := t.eval(lua.Inspect, key)
	found, err1 := r.Int(0)
	value, err2 := r.Text(1)
	ms, err3 := r.Int(2)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.failf("inspect answers %v: %w", brief(r), err)
	}
	e := entry{found == 1, value, time.Duration(ms) * time.Millisecond}
	if ms == -1 {
		e.TTL = backend.NoExpiry
	}
	return e
}

// batch performs ops, of which each must have a result; what it is, the caller
// judges.
func (t *trial) batch(b backend.Batcher, ops []backend.Op) []backend.Result {
	ctx, cancel := context.WithTimeout(t.ctx, call)
	defer cancel()
	results := b.Batch(ctx, ops)
	for _, r := range results {
		t.supported(r.Err)
	}
	if len(results) != len(ops) {
		t.failf("Batch of %d operations has %d results", len(ops), len(results))
	}
	return results
}

// set stores a value by the harness.
func (t *trial) set(key, value string, ttl time.Duration) {
	t.need(t.h.Set != nil, "Set")
	if err := t.h.Set(t.ctx, t.n, key, value, ttl); err != nil {
		t.failf("the harness cannot Set: %w", err)
	}
	t.defers(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), time.Second)
		defer cancel()
		t.n.EvalDelete(ctx, key, value) // it may have no expiry
	})
}

// awaitFree waits for the end of key's life, which began at the given time of
// the check, takes key for token, and returns how long it was held. It fails
// the check if that was less than ttl.
func (t *trial) awaitFree(key, token string, began, ttl time.Duration, situation string) time.Duration {
	for {
		free := t.trySetNX(key, token, long)
		lived := t.clock() - began
		if free {
			// Two clocks differ a little, and servers count in milliseconds.
			if lived < ttl-ttl/100-2*time.Millisecond {
				t.failf("%s was free after %v, want it held for %v", situation, lived, ttl)
			}
			return lived
		}
		if lived > ttl+patience {
			t.failf("%s was still held after %v, want it free after %v", situation, lived, ttl)
		}
		t.wait(max(time.Millisecond, ttl/20))
	}
}

// expires fails the check unless the key that hold takes, for token and ttl, is
// free again after ttl and soon after. Hold returns when its life began and
// whether it could be taken in time.
func (t *trial) expires(ttl time.Duration, situation string, hold func(key, token string) (began time.Duration, valid bool)) {
	var lived time.Duration
	for range attempts {
		key := t.name()
		began, valid := hold(key, t.name())
		if !valid {
			continue
		}
		if lived = t.awaitFree(key, t.name(), began, ttl, situation); lived <= ttl+expirySlack {
			return
		}
	}
	if lived == 0 {
		t.skipf("the server or this machine is too slow to tell")
	}
	t.failf("%s was still held %v after its end, again and again: want a life of %v, in milliseconds", situation, lived-ttl, ttl)
}

// inTime runs f with longer and longer times to live until it is done before
// the key that it made at its beginning has expired. F returns what it saw
// as the failure that it is if the key was still there; it does not fail itself.
func (t *trial) inTime(f func(ttl time.Duration) error) {
	for ttl := short; ttl <= 32*short; ttl *= 2 {
		began := t.clock()
		err := f(ttl)
		if err == nil {
			return
		}
		if t.clock()-began < ttl-ttl/100-2*time.Millisecond {
			t.failf("%w", err)
		}
	}
	t.skipf("the server or this machine is too slow to tell")
}

// within calls f with a ctx that has so long to live. It returns how much too
// late f returned, and f's error. A call that does not come back fails the check.
func (t *trial) within(d time.Duration, f func(ctx context.Context) error) (late time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.ctx, d)
	defer cancel()
	began := time.Now()
	done := make(chan struct{})
	var took time.Duration
	go func() {
		defer close(done)
		t.protect(func() {
			err = f(ctx)
			took = time.Since(began)
		})
	}()
	if !within(d+patience, done) {
		t.failf("the call had %v and has not returned %v later", d, patience)
	}
	t.stopIfFailed()
	return took - d, err
}

// parallel runs f on so many goroutines at once and waits for all.
func (t *trial) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			t.protect(func() {
				<-begin
				f(i)
			})
		})
	}
	close(begin)
	wg.Wait()
	t.stopIfFailed()
}

// stopIfFailed ends the check if a goroutine of it has failed.
func (t *trial) stopIfFailed() {
	t.mu.Lock()
	failed := t.failure != nil || t.skipped != ""
	t.mu.Unlock()
	if failed {
		runtime.Goexit()
	}
}

// eventually waits until f returns nil, and fails the check if it does not.
func (t *trial) eventually(what string, f func(ctx context.Context) error) {
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.ctx, time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.failf("%s: not within %v: %w", what, patience, err)
		}
		if err := sleep(t.ctx, 5*time.Millisecond); err != nil {
			t.failf("%s: the check has taken too long: %w", what, err)
		}
	}
}

// answers waits until the node answers, after a fault. No connection that broke may be
// in use then, or it would fail a later check, which has nothing to do with it.
func (t *trial) answers() {
	if err := t.recovered(); err != nil {
		t.failf("%w", err)
	}
}

// recovered waits until many calls at once all succeed.
func (t *trial) recovered() error {
	pause := 5 * time.Millisecond
	for began := time.Now(); ; pause = min(2*pause, 200*time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.ctx, time.Second)
		err := t.ask(ctx)
		if err == nil {
			errs := make([]error, 2*crowd)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { t.protect(func() { errs[i] = t.ask(ctx) }) })
			}
			wg.Wait()
			err = cmp.Or(errs...)
		}
		cancel()
		switch {
		case err == nil:
			return nil
		case time.Since(began) > patience:
			return fmt.Errorf("the fault is over, and %v later calls still fail, perhaps on connections that broke: %w", patience, err)
		}
		if err := sleep(t.ctx, pause); err != nil {
			return fmt.Errorf("the check has taken too long: %w", err)
		}
	}
}

// ask makes a call that has no effect.
func (t *trial) ask(ctx context.Context) error {
	_, err := t.n.EvalDelete(ctx, t.keyFor("nobody"), "")
	return err
}

// heals has the node recover when the check ends, whatever came of it.
func (t *trial) heals() { t.defers(func() { _ = t.recovered() }) }

// stall stops the server, and returns what lets it go on, at the end of the
// check at the latest, when it has shown that it was stopped, and waits for the node.
func (t *trial) stall() (resume func()) {
	t.need(t.h.Stall != nil, "Stall")
	t.answers() // there is a connection then
	t.heals()
	r, err := t.h.Stall(t.ctx, t.n)
	if err != nil {
		t.failf("the harness cannot Stall: %w", err)
	}
	over := sync.OnceFunc(r)
	t.defers(over)
	return func() {
		ctx, cancel := context.WithTimeout(t.ctx, 20*time.Millisecond)
		defer cancel()
		if err := t.ask(ctx); err == nil {
			t.failf("the server has answered a call while it was stopped: Stall of the harness does not stop it")
		}
		over()
		t.answers()
	}
}

// disconnect breaks every connection.
func (t *trial) disconnect() {
	t.need(t.h.Disconnect != nil, "Disconnect")
	t.heals()
	if err := t.h.Disconnect(t.ctx, t.n); err != nil {
		t.failf("the harness cannot Disconnect: %w", err)
	}
}

// quote returns text for a message, cut if it is long.
func quote(text string) string {
	if len(text) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", text[:80], len(text))
	}
	return fmt.Sprintf("%q", text)
}
