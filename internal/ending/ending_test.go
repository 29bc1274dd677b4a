package ending

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The error is that of ctx, with the cause that the caller gave.
func TestOf(t *testing.T) {
	why := errors.New("why")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	caused, cancelBecause := context.WithCancelCause(t.Context())
	cancelBecause(why)
	for want, ctx := range map[string]context.Context{"context canceled": cancelled, "context canceled: why": caused} {
		err := Of(ctx, ctx.Err())
		if err == nil || err.Error() != want || !errors.Is(err, context.Canceled) || errors.Is(err, why) != (ctx == caused) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	var none context.Context // it is not used
	if err := Of(none, nil); err != nil {
		t.Errorf("without an error: %v", err)
	}
}

// A wait that was limited is over after the limit. Its error matches none of a context.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		time.Sleep(time.Second)
		start := time.Now()
		ctx, cancel := Limit(t.Context(), begun, 3*time.Second)
		defer cancel()
		<-ctx.Done()
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("it ended after %v, want 2s", took)
		}
		err := Of(ctx, ctx.Err())
		if err == nil || err.Error() != "waited for 3s" || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}

		parent, cancelParent := context.WithTimeout(t.Context(), time.Second)
		defer cancelParent()
		ctx, cancel = Limit(parent, time.Now(), time.Minute)
		defer cancel()
		<-ctx.Done()
		if err := Of(ctx, ctx.Err()); err != context.DeadlineExceeded {
			t.Errorf("the caller's ctx ended first: %v", err)
		}
	})
}

// A late context ends by itself, after its deadline, or never.
type late struct {
	context.Context
	done chan struct{}
}

func (c late) Done() <-chan struct{} { return c.done }

func (c late) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// If the deadline has passed, but ctx has not ended yet, Of waits for that for a short time.
func TestOfLateContext(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{time.Millisecond: time.Millisecond, time.Hour: slack} {
		synctest.Test(t, func(t *testing.T) {
			ctx := late{t.Context(), make(chan struct{})}
			timer := time.AfterFunc(after, func() { close(ctx.done) })
			defer timer.Stop()
			start := time.Now()
			if err := Of(ctx, context.DeadlineExceeded); err != context.DeadlineExceeded {
				t.Error(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
		})
	}
}

// A deadline counts as soon as it has passed, even if the context does not know that yet.
func TestErr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Err(cancelled); err != context.Canceled {
			t.Errorf("cancelled: %v", err)
		}
		late := deadline{t.Context(), time.Now().Add(time.Second)}
		if err := Err(late); err != nil || Within(late, time.Second, time.Now()) || !Within(late, 2*time.Second, time.Now()) {
			t.Errorf("a second before the deadline: %v", err)
		}
		time.Sleep(time.Second)
		if err := Err(late); err != context.DeadlineExceeded {
			t.Errorf("after the deadline: %v", err)
		}
		if Err(t.Context()) != nil || Within(t.Context(), time.Hour, time.Now()) {
			t.Error("a context without a deadline ends")
		}
	})
}

// A deadline is a context whose timer is late.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }
