package backendtest

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/check"
)

const (
	long     = check.Long
	short    = check.Short
	call     = check.Call
	attempts = check.Attempts
	patience = check.Patience
	crowd    = check.Crowd

	// callSlack is how late a call may return. After a late call, the check tries again.
	callSlack = 50 * time.Millisecond
)

// A trial is a running check, with its harness.
type trial struct {
	*check.T
	h Harness
}

// has returns the node as an I, which the check needs.
func has[I any](t *trial, name string) I { return check.Has[I](t.T, name) }

// optional returns the node as an I if it is one and can work here. It is for checks that test
// more if so.
func optional[I any](t *trial, name string) (I, bool) { return check.Optional[I](t.T, name) }

// batch performs ops and checks that there is one result for each. The caller checks the results.
func (t *trial) batch(b backend.Batcher, ops []backend.Op) []backend.Result {
	results := t.results(b, ops)
	for _, r := range results {
		t.Supported(r.Err)
	}
	return results
}

// results is batch if errors may also say that something is not supported.
func (t *trial) results(b backend.Batcher, ops []backend.Op) []backend.Result {
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	results := b.Batch(ctx, ops)
	if len(results) != len(ops) {
		t.Failf("Batch of %d operations has %d results", len(ops), len(results))
	}
	return results
}

// answers waits until the node answers again after a fault. No broken connection may be in use
// then, because it would make a later check fail.
func (t *trial) answers() {
	if err := t.recovered(); err != nil {
		t.Failf("%w", err)
	}
}

// recovered waits until many concurrent calls all succeed.
func (t *trial) recovered() error {
	pause := 5 * time.Millisecond
	for began := time.Now(); ; pause = min(2*pause, 200*time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Ctx, time.Second)
		err := t.ask(ctx)
		if err == nil {
			errs := make([]error, 2*crowd)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { t.Protect(func() { errs[i] = t.ask(ctx) }) })
			}
			wg.Wait()
			err = cmp.Or(errs...)
		}
		cancel()
		switch {
		case err == nil:
			return nil
		case time.Since(began) > patience:
			return fmt.Errorf("the fault is over, but calls still fail %v later, perhaps on broken connections: %w", patience, err)
		}
		if err := check.Sleep(t.Ctx, pause); err != nil {
			return fmt.Errorf("the check has taken too long: %w", err)
		}
	}
}

// ask makes a call that has no effect.
func (t *trial) ask(ctx context.Context) error {
	_, err := t.Node.EvalDelete(ctx, t.KeyFor("nobody"), "")
	return err
}

// heals makes the check wait at its end until the node works again, whatever happened.
func (t *trial) heals() { t.Defer(func() { _ = t.recovered() }) }

// stall stops the server, and checks that it has stopped. It returns a function that lets the
// server go on and waits for the node. The end of the check calls it at the latest.
func (t *trial) stall() (resume func()) {
	t.Need(t.h.Stall != nil, "Stall")
	t.answers() // so that a connection exists
	t.heals()
	r, err := t.h.Stall(t.Ctx, t.Node)
	if err != nil {
		t.Failf("the harness cannot Stall: %w", err)
	}
	over := sync.OnceFunc(r)
	t.Defer(over)
	return func() {
		ctx, cancel := context.WithTimeout(t.Ctx, 20*time.Millisecond)
		defer cancel()
		if err := t.ask(ctx); err == nil {
			t.Failf("the server answered a call while it was stopped: Stall of the harness does not stop it")
		}
		over()
		t.answers()
	}
}

// disconnect breaks every connection.
func (t *trial) disconnect() {
	t.Need(t.h.Disconnect != nil, "Disconnect")
	t.heals()
	if err := t.h.Disconnect(t.Ctx, t.Node); err != nil {
		t.Failf("the harness cannot Disconnect: %w", err)
	}
}
