package redlock

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// A useOf is how a call treats an option.
type useOf int

const (
	used       useOf = iota // the witness shows its effect
	refused                 // an error before any I/O
	uncompiled              // it does not compile
	elsewhere               // used, as other tests show
)

// A takenLock is a lock that one of the calls has acquired, and how to release it.
type takenLock struct {
	*Lock
	release func() error
}

// options lists every option, the options it needs in order to matter, and a witness of its
// effect. By default, every call that compiles with the option must use it.
var options = []struct {
	name    string
	option  any
	needs   []any
	but     map[string]useOf // calls that do not use it
	witness func(t *testing.T, r *rig, take func(context.Context) (takenLock, error))
}{
	{
		name: "WithTTL", option: WithTTL(33 * time.Second),
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			lock := must(take(t.Context()))(t)
			if ttl, left := 33*time.Second, time.Until(lock.Until()); left < ttl-time.Second || left > ttl {
				t.Errorf("the lock is valid for %v", left)
			}
		},
	},
	{
		name: "WithOwner", option: WithOwner("me"), but: map[string]useOf{"Resume": uncompiled},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			if owner := proto.OwnerOf(must(take(t.Context()))(t).Token()); owner != "me" {
				t.Errorf("the owner is %q", owner)
			}
		},
	},
	{
		name: "WithRetry", option: WithRetry(Fixed(time.Second).Limit(3)),
		but: map[string]useOf{"Resume": uncompiled, "TryLock": refused, "TryDo": refused},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			r.lock(r.locker(WithAutoExtend()), "k")
			_, err := take(t.Context())
			var e *QuorumError
			if !errors.As(err, &e) || e.Tries != 3 {
				t.Errorf("the error is %v", err)
			}
		},
	},
	{
		name: "WithWait", option: WithWait(3 * time.Second),
		but: map[string]useOf{"Resume": uncompiled, "TryLock": refused, "TryDo": refused},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			r.lock(r.locker(WithAutoExtend()), "k")
			start := time.Now()
			_, err := take(t.Context())
			matches(t, err, ErrTaken)
			took(t, start, 3*time.Second, 3*time.Second)
		},
	},
	{
		name: "WithPatience", option: WithPatience(3 * time.Second),
		but: map[string]useOf{"Resume": uncompiled, "TryLock": refused, "TryDo": refused},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			r.setAll(faulty.Refuse(nil))
			start := time.Now()
			_, err := take(t.Context())
			matches(t, err, ErrUnavailable)
			took(t, start, 3*time.Second, 4*time.Second)
			r.clear()
		},
	},
	{
		name: "WithAutoExtend", option: WithAutoExtend(),
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			lock := must(take(t.Context()))(t)
			time.Sleep(time.Minute)
			r.held(lock.Lock, "after a minute")
		},
	},
	{
		name: "WithMaxHold", option: WithMaxHold(20 * time.Second), needs: []any{WithAutoExtend()},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			lock := must(take(t.Context()))(t)
			time.Sleep(19 * time.Second)
			r.held(lock.Lock, "after 19 seconds")
			time.Sleep(2 * time.Second)
			matches(t, lock.Err(), ErrNotHeld)
		},
	},
	{
		name: "WithMinHold", option: WithMinHold(30 * time.Second),
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			lock := must(take(t.Context()))(t)
			_ = lock.release()
			time.Sleep(25 * time.Second)
			if n := r.holders("k", ""); n != len(r.mem) {
				t.Errorf("after 25 seconds %d nodes hold the lock", n)
			}
		},
	},
	{
		name: "WithFencing", option: WithFencing(), but: map[string]useOf{"Resume": uncompiled},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			if must(take(t.Context()))(t).Fence() == 0 {
				t.Error("the lock has no fencing token")
			}
		},
	},
	{
		name: "WithReentrancy", option: WithReentrancy(), but: map[string]useOf{"Resume": uncompiled},
		witness: func(t *testing.T, r *rig, take func(context.Context) (takenLock, error)) {
			inner := must(take(context.WithValue(t.Context(), holdsFirst{}, true)))(t)
			if _, n, _ := inner.handle.Count(); n != 2 {
				t.Errorf("the lock has %d handles, want two", n)
			}
		},
	},
	{name: "WithHooks", option: WithHooks(Hooks{}), but: defaultOnly(elsewhere)},
	{name: "WithLogger", option: WithLogger(slog.New(slog.DiscardHandler)), but: defaultOnly(elsewhere)},
	{name: "WithAnnounce", option: WithAnnounce("x"), but: defaultOnly(uncompiled)},
	{name: "WithCounterLife", option: WithCounterLife(0), but: defaultOnly(uncompiled)},
	{name: "WithDrift", option: WithDrift(0.5), but: defaultOnly(uncompiled)},
	{name: "WithKeyPrefix", option: WithKeyPrefix("x"), but: defaultOnly(uncompiled)},
	{name: "WithNodeTimeout", option: WithNodeTimeout(1), but: defaultOnly(uncompiled)},
	{name: "WithQuarantine", option: WithQuarantine(quarantine), but: defaultOnly(uncompiled)},
	{name: "WithQuorum", option: WithQuorum(3), but: defaultOnly(uncompiled)},
}

// holdsFirst in a ctx requests the ctx of a lock on the key instead.
type holdsFirst struct{}

// defaultOnly is the use of an option that only New, and perhaps With, accepts.
func defaultOnly(with useOf) map[string]useOf {
	but := map[string]useOf{"New": elsewhere, "With": with}
	for _, call := range []string{"Lock", "TryLock", "Do", "TryDo", "Mutex", "Resume"} {
		but[call] = uncompiled
	}
	return but
}

// callsWithOptions lists the calls that take options: the type of the options, and a function
// that makes the call.
var callsWithOptions = []struct {
	name  string
	takes reflect.Type
	take  func(r *rig, ctx context.Context, opts []any) (takenLock, error)
}{
	{"New", reflect.TypeFor[Option](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l, err := New(r.nodes, optionsOf[Option](opts)...)
		if err != nil {
			return takenLock{}, err
		}
		return taken(l.Lock(inside(r, l, ctx), "k"))
	}},
	{"With", reflect.TypeFor[DerivedOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l, err := r.locker().With(optionsOf[DerivedOption](opts)...)
		if err != nil {
			return takenLock{}, err
		}
		return taken(l.Lock(inside(r, l, ctx), "k"))
	}},
	{"Lock", reflect.TypeFor[LockOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l := r.locker()
		return taken(l.Lock(inside(r, l, ctx), "k", optionsOf[LockOption](opts)...))
	}},
	{"TryLock", reflect.TypeFor[LockOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l := r.locker()
		return taken(l.TryLock(inside(r, l, ctx), "k", optionsOf[LockOption](opts)...))
	}},
	{"Do", reflect.TypeFor[LockOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l := r.locker()
		return takenByDo(l, inside(r, l, ctx), optionsOf[LockOption](opts), l.Do)
	}},
	{"TryDo", reflect.TypeFor[LockOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l := r.locker()
		return takenByDo(l, inside(r, l, ctx), optionsOf[LockOption](opts), l.TryDo)
	}},
	{"Mutex", reflect.TypeFor[LockOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		l := r.locker()
		m := l.Mutex("k", optionsOf[LockOption](opts)...)
		err := m.Lock(inside(r, l, ctx))
		return taken(m.lock, err)
	}},
	{"Resume", reflect.TypeFor[ResumeOption](), func(r *rig, ctx context.Context, opts []any) (takenLock, error) {
		first := r.lock(r.locker(), "k")
		synctest.Wait()
		return taken(r.locker().Resume(ctx, first.Handover(), optionsOf[ResumeOption](opts)...))
	}},
}

// inside returns ctx, or the context of a lock on the key that l has acquired if ctx requests it.
func inside(r *rig, l *Locker, ctx context.Context) context.Context {
	if ctx.Value(holdsFirst{}) == nil {
		return ctx
	}
	return r.lock(l, "k").Context(ctx)
}

func taken(lock *Lock, err error) (takenLock, error) {
	if err != nil {
		return takenLock{}, err
	}
	return takenLock{lock, func() error { return lock.Unlock(context.Background()) }}, nil
}

// takenByDo returns the lock under which Do or TryDo runs a function, until it is released.
func takenByDo(l *Locker, ctx context.Context, opts []LockOption,
	do func(context.Context, string, func(context.Context) error, ...LockOption) error,
) (takenLock, error) {
	began, leave, ended := make(chan *Lock, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- do(ctx, "k", func(ctx context.Context) error {
			began <- ctx.Value(holds{l.base, "k"}).(*lockContext).lock
			<-leave
			return nil
		}, opts...)
	}()
	select {
	case lock := <-began:
		return takenLock{lock, func() error { close(leave); return <-ended }}, nil
	case err := <-ended:
		return takenLock{}, err
	}
}

func optionsOf[T any](all []any) []T {
	var opts []T
	for _, o := range all {
		opts = append(opts, o.(T))
	}
	return opts
}

// No call accepts an option and ignores it: the option does not compile, is rejected before any
// I/O, or has an effect.
func TestOptionsMatter(t *testing.T) {
	for _, o := range options {
		for _, call := range callsWithOptions {
			t.Run(o.name+" "+call.name, func(t *testing.T) {
				want := o.but[call.name]
				if compiles := reflect.TypeOf(o.option).Implements(call.takes); compiles != (want != uncompiled) {
					t.Fatalf("the call compiles: %v", compiles)
				}
				opts := append(slices.Clone(o.needs), o.option)
				switch want {
				case refused:
					onRig(t, 3, false, func(t *testing.T, r *rig) {
						_, err := call.take(r, t.Context(), opts)
						var e *QuorumError
						if n := r.calls(); err == nil || errors.As(err, &e) || n != 0 {
							t.Errorf("after %d calls of nodes the error is %v", n, err)
						}
					})
				case used:
					onRig(t, 3, false, func(t *testing.T, r *rig) {
						var held *takenLock
						o.witness(t, r, func(ctx context.Context) (takenLock, error) {
							lock, err := call.take(r, ctx, opts)
							if err != nil {
								return lock, err
							}
							release, released := lock.release, false
							lock.release = func() error {
								if released {
									return nil
								}
								released = true
								return release()
							}
							held = &lock
							return lock, nil
						})
						if held != nil {
							_ = held.release()
						}
					})
				}
			})
		}
	}
}

// Each option of the package is in the table.
func TestOptionsAreKnown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	declared := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results.NumFields() != 1 {
				continue
			}
			if result, ok := f.Type.Results.List[0].Type.(*ast.Ident); ok && strings.HasSuffix(result.Name, "Option") {
				declared[f.Name.Name] = true
			}
		}
	}
	known := make(map[string]bool)
	for _, o := range options {
		known[o.name] = true
	}
	if !maps.Equal(declared, known) {
		t.Errorf("the package declares %q, the table has %q", slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(known)))
	}
}

// Options that contradict each other are rejected, even if each alone would be used.
func TestOptionsTogether(t *testing.T) {
	r := newRig(t, 3, false)
	l := r.locker(WithRetry(Fixed(time.Second)))
	with := func(opts ...DerivedOption) error { _, err := l.With(opts...); return err }
	lock := func(l *Locker, opts ...LockOption) error { _, err := l.Lock(t.Context(), "k", opts...); return err }
	fenced := r.locker(WithFencing())
	_, newErr := New(r.nodes, WithRetry(Fixed(0).Limit(1)), WithPatience(Forever))
	_, resumeErr := r.locker().Resume(t.Context(), NewHandover("k", "token", 0), WithMaxHold(time.Minute))
	_, unfenced := fenced.Resume(t.Context(), NewHandover("k", "token", 0))
	derived, err := r.locker().With(WithFencing())
	if err != nil {
		t.Fatal(err)
	}
	_, unfencedDerived := derived.Resume(t.Context(), NewHandover("k", "token", 0))
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"New", newErr, "redlock: a patience: the retry policy says how long the call goes on"},
		{"With", with(WithPatience(Forever)), "redlock: with: a patience: the retry policy"},
		{"Lock", lock(l, WithPatience(Forever)), `redlock: lock "k": a patience: the retry policy`},
		{"without a wait", lock(r.locker(WithWait(0)), WithPatience(Forever)), `redlock: lock "k": a patience: the call does not wait`},
		{"without a wait, polling", lock(r.locker(), WithWait(0), WithRetry(Fixed(0).Limit(1))), `redlock: lock "k": a retry policy: the call does not wait`},
		{"TryDo", l.TryDo(t.Context(), "k", func(context.Context) error { return nil }, WithWait(time.Second)), `redlock: lock "k": a wait of 1s: the call does not wait`},
		{"a hold", lock(r.locker(), WithMaxHold(time.Minute)), `redlock: lock "k": a maximal hold: the lock does not extend itself (WithAutoExtend)`},
		{"a hold of Resume", resumeErr, `redlock: resume "k": a maximal hold: the lock does not extend itself`},
		{"no token for a fencing Locker", unfenced, `redlock: resume "k": no fencing token: the Locker has WithFencing`},
		{"nor for a derived one", unfencedDerived, `redlock: resume "k": no fencing token: the Locker has WithFencing`},
	} {
		var e *QuorumError
		if tc.err == nil || !strings.HasPrefix(tc.err.Error(), tc.want) || errors.As(tc.err, &e) {
			t.Errorf("%s: %v, want %q", tc.name, tc.err, tc.want)
		}
	}
	if n := r.calls(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	// A default may have no effect on some calls.
	for what, err := range map[string]error{
		"a policy over a patience": lock(r.locker(WithPatience(Forever), WithKeyPrefix("1")), WithRetry(Fixed(0).Limit(1))),
		"no wait over a policy":    lock(r.locker(WithRetry(Fixed(0).Limit(1)), WithKeyPrefix("2")), WithWait(0)),
		"a hold without extension": lock(r.locker(WithMaxHold(time.Minute), WithKeyPrefix("3"))),
		"TryLock with WithWait(0)": func() error {
			_, err := r.locker(WithKeyPrefix("4")).TryLock(t.Context(), "k", WithWait(0))
			return err
		}(),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A node timeout that the TTL would shorten is rejected, unless a call has a TTL of its own.
func TestNodeTimeoutAndTTL(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		for _, opts := range [][]Option{
			{WithNodeTimeout(DefaultTTL/8 + 1)},
			{WithTTL(time.Second), WithNodeTimeout(DefaultNodeTimeout)},
		} {
			if _, err := New(r.nodes, opts...); err == nil || !strings.Contains(err.Error(), "must be at most an eighth of the TTL") {
				t.Errorf("New: %v", err)
			}
		}
		r.locker(WithTTL(time.Second)) // the default follows the TTL
		r.locker(WithTTL(time.Second), WithMinHold(time.Minute), WithNodeTimeout(time.Second))
		r.setAll(faulty.Hang())
		for ttl, want := range map[time.Duration]time.Duration{DefaultTTL: DefaultTTL / 8, time.Second: time.Second / 8, time.Minute: DefaultTTL / 8} {
			l := r.locker(WithNodeTimeout(DefaultTTL / 8)) // a new Locker, because the first one knows that the nodes hang
			start := time.Now()
			_, err := l.TryLock(t.Context(), "k", WithTTL(ttl))
			matches(t, err, ErrUnavailable)
			took(t, start, want, want)
		}
	})
}
