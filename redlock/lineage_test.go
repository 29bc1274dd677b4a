package redlock

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// foreignContext is a context of a type that the library does not know.
type foreignContext struct{ context.Context }

// heldUpContext is a context of a foreign type that ends by itself.
type heldUpContext struct {
	context.Context
	done chan struct{}
}

func (c heldUpContext) Done() <-chan struct{} { return c.done }

// A call that would wait for itself fails at once without asking a node, whatever its ctx is
// derived through.
func TestWaitingForItself(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var h told
		l := r.locker(WithHooks(h.hooks()), WithWait(time.Hour))
		derived, err := l.With()
		if err != nil {
			t.Fatal(err)
		}
		type key struct{}
		for name, derive := range map[string]func(context.Context) context.Context{
			"itself":  func(ctx context.Context) context.Context { return ctx },
			"a value": func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
			"a deadline": func(ctx context.Context) context.Context {
				ctx, cancel := context.WithTimeout(ctx, time.Hour)
				t.Cleanup(cancel)
				return ctx
			},
			"a cancellation with a cause": func(ctx context.Context) context.Context {
				ctx, cancel := context.WithCancelCause(context.WithValue(ctx, key{}, 2))
				t.Cleanup(func() { cancel(nil) })
				return ctx
			},
			"a foreign type": func(ctx context.Context) context.Context { return foreignContext{&foreignContext{ctx}} },
			"another lock": func(ctx context.Context) context.Context {
				other := r.lock(l, "other")
				t.Cleanup(func() { _ = other.Unlock(context.Background()) })
				return context.WithValue(other.Context(ctx), key{}, 3)
			},
		} {
			err := l.Do(t.Context(), "k", func(ctx context.Context) error {
				ctx = derive(ctx)
				synctest.Wait()
				h.take()
				start := time.Now()
				r.quiet(name, func() {
					for _, l := range []*Locker{l, derived} {
						for _, opts := range [][]LockOption{nil, {WithRetry(Fixed(time.Second))}} {
							err := l.Do(ctx, "k", func(context.Context) error { return errors.New("fn ran") }, opts...)
							if matches(t, err, ErrTaken); !strings.Contains(err.Error(), "wait for itself") {
								t.Errorf("%s: %v", name, err)
							}
						}
						_, err := l.Lock(ctx, "k")
						matches(t, err, ErrTaken)
						matches(t, l.Mutex("k").Lock(ctx), ErrTaken)
					}
				})
				took(t, start, 0, 0)
				if kinds, _ := h.take(); len(kinds) > 0 {
					t.Errorf("%s: hooks %v", name, kinds)
				}
				err := r.locker().TryDo(ctx, "k", func(context.Context) error { return nil })
				matches(t, err, ErrTaken) // a Locker of its own is another holder
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

// A call whose ctx outlives the lock may wait for the end of that lock, and acquires it then.
func TestWaitingForTheEndOfTheOwnLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()))
		for name, detach := range map[string]func(context.Context) context.Context{
			"without cancellation": context.WithoutCancel,
			"and with a deadline": func(ctx context.Context) context.Context {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				t.Cleanup(cancel)
				return ctx
			},
			"a foreign type": func(ctx context.Context) context.Context {
				return heldUpContext{context.WithoutCancel(ctx), make(chan struct{})}
			},
		} {
			after := make(chan error)
			err := l.Do(t.Context(), "k", func(ctx context.Context) error {
				go func() { after <- l.Do(detach(ctx), "k", func(context.Context) error { return nil }) }()
				time.Sleep(5 * time.Second)
				return ctx.Err()
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := <-after; err != nil {
				t.Errorf("%s: the call that waited: %v", name, err)
			}
			if !strings.Contains(log.String(), "its own ctx holds") {
				t.Errorf("%s: nothing was logged: %s", name, log.String())
			}
		}
	})
}

// The context of a lost lock does not count as holding it.
func TestWaitingAfterALoss(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		ctx := context.WithoutCancel(lock.Context(t.Context()))
		time.Sleep(time.Minute)
		again, err := l.Lock(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		_ = again.Unlock(t.Context())
	})
}
