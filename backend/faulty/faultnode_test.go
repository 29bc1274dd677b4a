package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

var errPlanned = errors.New("planned")

// asked is what a caller saw of one call.
type asked struct {
	ok   bool
	err  error
	took time.Duration
}

// setNX calls SetNX with a ctx that ends after budget.
func setNX(t *testing.T, n backend.Node, key string, budget time.Duration) asked {
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	began := time.Now()
	ok, err := n.SetNX(ctx, key, "token", time.Hour)
	return asked{ok, err, time.Since(began)}
}

func TestFaults(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name   string
		fault  faulty.Fault
		budget time.Duration

		err         error // nil if the call is granted
		took        time.Duration
		notExecuted bool // according to the error
		then        int  // how often the request had arrived by then
		later       int  // and a minute later
	}{
		{name: "Delay", fault: faulty.Delay(30 * ms), budget: 50 * ms, took: 30 * ms, then: 1, later: 1},
		{name: "Delay past the deadline", fault: faulty.Delay(80 * ms), budget: 50 * ms,
			err: context.DeadlineExceeded, took: 50 * ms},
		{name: "DelayReply", fault: faulty.DelayReply(30 * ms), budget: 50 * ms, took: 30 * ms, then: 1, later: 1},
		{name: "DelayReply past the deadline", fault: faulty.DelayReply(80 * ms), budget: 50 * ms,
			err: context.DeadlineExceeded, took: 50 * ms, then: 1, later: 1},
		{name: "Late", fault: faulty.Late(30 * ms), budget: 50 * ms, took: 30 * ms, then: 1, later: 1},
		{name: "Late past the deadline", fault: faulty.Late(80 * ms), budget: 50 * ms,
			err: context.DeadlineExceeded, took: 50 * ms, then: 0, later: 1},
		{name: "Hang", fault: faulty.Hang(), budget: 50 * ms, err: context.DeadlineExceeded, took: 50 * ms},
		{name: "Refuse", fault: faulty.Refuse(errPlanned), budget: 50 * ms, err: errPlanned, notExecuted: true},
		{name: "Refuse a connection", fault: faulty.Refuse(nil), budget: 50 * ms, err: syscall.ECONNREFUSED, notExecuted: true},
		{name: "Refuse as a server", fault: faulty.Refuse(backend.MarkReply(errors.New("NOAUTH Authentication required."))),
			budget: 50 * ms, err: backend.ErrRefused, notExecuted: true},
		{name: "LoseRequest", fault: faulty.LoseRequest(errPlanned), budget: 50 * ms, err: errPlanned},
		{name: "LoseReply", fault: faulty.LoseReply(nil), budget: 50 * ms, err: io.EOF, then: 1, later: 1},
		{name: "Duplicate at once", fault: faulty.Duplicate(0), budget: 50 * ms, then: 2, later: 2},
		{name: "Duplicate later", fault: faulty.Duplicate(time.Second), budget: 50 * ms, then: 1, later: 2},
		{name: "IgnoreContext", fault: faulty.Chain(faulty.IgnoreContext(), faulty.Delay(time.Second)),
			budget: 50 * ms, took: time.Second, then: 1, later: 1},
		{name: "a chain", fault: faulty.Chain(faulty.Delay(10*ms), faulty.Delay(20*ms), faulty.LoseReply(nil)),
			budget: 50 * ms, err: io.EOF, took: 30 * ms, then: 1, later: 1},
		{name: "an empty chain", fault: faulty.Chain(), budget: 50 * ms, then: 1, later: 1},
		{name: "First, within the limit", fault: faulty.First(1, faulty.LoseRequest(nil)), budget: 50 * ms, err: io.EOF},
		{name: "First, beyond the limit", fault: faulty.First(0, faulty.LoseRequest(nil)), budget: 50 * ms, then: 1, later: 1},
		{name: "On, hit", fault: faulty.On(faulty.Kind(backend.OpEval, backend.OpSetNX), faulty.LoseRequest(nil)),
			budget: 50 * ms, err: io.EOF},
		{name: "On, missed", fault: faulty.On(faulty.Kind(backend.OpExtend), faulty.LoseRequest(nil)),
			budget: 50 * ms, then: 1, later: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := faulty.NewFaultNode(memory.New())
				f.Set(tc.fault)
				got := setNX(t, f, "k", tc.budget)
				if !errors.Is(got.err, tc.err) || got.ok != (tc.err == nil) || got.took != tc.took {
					t.Errorf("SetNX = %v, %v after %v, want the error %v after %v", got.ok, got.err, got.took, tc.err, tc.took)
				}
				if tc.err != nil && backend.NotExecuted(got.err) != tc.notExecuted {
					t.Errorf("NotExecuted(%v) = %v, want %v", got.err, !tc.notExecuted, tc.notExecuted)
				}
				if n := len(f.Arrived()); n != tc.then {
					t.Errorf("the request had arrived %d times when the call returned, want %d", n, tc.then)
				}
				time.Sleep(time.Minute)
				if n := len(f.Arrived()); n != tc.later {
					t.Errorf("the request had arrived %d times in the end, want %d", n, tc.later)
				}
				// A cleared fault has no further effect.
				f.Clear()
				if got := setNX(t, f, "l", tc.budget); !got.ok || got.took != 0 {
					t.Errorf("SetNX without faults = %+v", got)
				}
			})
		})
	}
}

// A client that respects only the deadline ignores a cancellation.
func TestIgnoreCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.NewFaultNode(memory.New())
		f.Set(faulty.IgnoreCancel(), faulty.Hang())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		_, err := f.SetNX(ctx, "k", "token", time.Hour)
		if took := time.Since(began); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v after %v, want %v at the deadline", err, took, context.DeadlineExceeded)
		}
	})
}

// The SET arrives after the DEL that should undo it.
func TestLateSetOutlivesItsRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.New()
		f := faulty.NewFaultNode(server)
		f.Set(faulty.Late(time.Second))
		if got := setNX(t, f, "k", 100*time.Millisecond); got.err == nil {
			t.Fatalf("SetNX = %+v", got)
		}
		f.Clear()
		if ok, err := f.EvalDelete(t.Context(), "k", "token"); ok || err != nil {
			t.Fatalf("EvalDelete = %v, %v", ok, err)
		}
		time.Sleep(time.Second)
		if keys := server.Keys(); !slices.Equal(keys, []string{"k"}) {
			t.Errorf("the keys are %q, want the late one", keys)
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.New()
		f := faulty.NewFaultNode(server)
		stall, resume := faulty.Stall()
		f.Set(stall)

		// One caller gives up, and one waits. Both requests are in the server's socket.
		if got := setNX(t, f, "k", 100*time.Millisecond); !errors.Is(got.err, context.DeadlineExceeded) || got.took != 100*time.Millisecond {
			t.Fatalf("SetNX = %+v", got)
		}
		var waits asked
		var wg sync.WaitGroup
		wg.Go(func() { waits = setNX(t, f, "k", time.Hour) })
		synctest.Wait()
		if keys := server.Keys(); len(keys) != 0 {
			t.Errorf("the stalled server has the keys %q", keys)
		}
		time.Sleep(time.Minute)
		resume()
		resume() // a second call has no effect
		wg.Wait()
		if waits.ok || waits.err != nil || waits.took != time.Minute {
			t.Errorf("the second SetNX = %+v, want it refused, because the first one was executed", waits)
		}
		if got := setNX(t, f, "l", time.Second); !got.ok || got.took != 0 {
			t.Errorf("SetNX after the stall = %+v", got)
		}
	})
}

// Operations that arrive while the server works off its backlog stay in order.
func TestStallKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.New()
		behind := faulty.NewFaultNode(server)
		f := faulty.NewFaultNode(behind)
		stall, resume := faulty.Stall()
		f.Set(stall)
		behind.Set(faulty.Delay(time.Second)) // each takes a while
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { setNX(t, f, fmt.Sprint("k", i), time.Hour) })
			synctest.Wait()
		}
		wg.Go(resume)
		time.Sleep(1500 * time.Millisecond)
		wg.Go(func() { setNX(t, f, "k5", time.Hour) })
		wg.Wait()
		var order []string
		for _, op := range behind.Arrived() {
			order = append(order, op.Key)
		}
		if want := []string{"k0", "k1", "k2", "k3", "k4", "k5"}; !slices.Equal(order, want) {
			t.Errorf("arrived in the order %q, want %q", order, want)
		}
	})
}

// ops is a batch on several keys.
func ops() []backend.Op {
	return []backend.Op{
		{Kind: backend.OpSetNX, Key: "a", Token: "token", TTL: time.Hour},
		{Kind: backend.OpSetNX, Key: "b", Token: "token", TTL: time.Hour},
		{Kind: backend.OpExtend, Key: "a", Token: "token", TTL: 2 * time.Hour},
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"c"}, Args: []string{"token", "1000"}},
		{Kind: backend.OpEvalDelete, Key: "b", Token: "token"},
	}
}

func TestBatchFaults(t *testing.T) {
	extend := faulty.Kind(backend.OpExtend)
	for _, tc := range []struct {
		name    string
		fault   faulty.Fault
		err     []error // of each operation, nil if it succeeds
		took    time.Duration
		arrived int
	}{
		{"the connection fails", faulty.LoseReply(nil), []error{io.EOF, io.EOF, io.EOF, io.EOF, io.EOF}, 0, 5},
		{"the connection is refused", faulty.Refuse(errPlanned), []error{errPlanned, errPlanned, errPlanned, errPlanned, errPlanned}, 0, 0},
		{"the batch is slow", faulty.Delay(time.Second), make([]error, 5), time.Second, 5},
		{"one operation fails alone", faulty.On(extend, faulty.Refuse(errPlanned)),
			[]error{nil, nil, errPlanned, nil, nil}, 0, 4},
		{"one operation is slow, and so are the later ones", faulty.On(extend, faulty.Delay(time.Second)), make([]error, 5), time.Second, 5},
		{"one operation hangs, and so do the later ones", faulty.On(extend, faulty.Hang()),
			[]error{nil, nil, context.DeadlineExceeded, context.DeadlineExceeded, context.DeadlineExceeded}, time.Minute, 4},
		{"each alone", faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			if op.Key == "b" {
				return backend.Result{Err: errPlanned}
			}
			return next(ctx)
		}), []error{nil, errPlanned, nil, nil, errPlanned}, 0, 3},
		{"each is slow", faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			time.Sleep(time.Second)
			return next(ctx)
		}), make([]error, 5), 5 * time.Second, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := faulty.NewFaultNode(memory.New())
				f.Set(tc.fault)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				results := f.Batch(ctx, ops())
				if took := time.Since(began); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
				for i, r := range results {
					if !errors.Is(r.Err, tc.err[i]) {
						t.Errorf("operation %d has the error %v, want %v", i, r.Err, tc.err[i])
					}
					if (r.OK || r.Reply != nil) != (tc.err[i] == nil) {
						t.Errorf("operation %d has the result %+v", i, r)
					}
				}
				if n := len(f.Arrived()); n != tc.arrived {
					t.Errorf("%d operations arrived, want %d", n, tc.arrived)
				}
			})
		})
	}
}

// A fault that keeps a batch for later works with a copy of the caller's slices.
func TestLateBatchIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.New()
		f := faulty.NewFaultNode(server)
		f.Set(faulty.Late(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		mine := ops()
		f.Batch(ctx, mine)
		mine[3].Keys[0] = "wrong"
		clear(mine)
		time.Sleep(1500 * time.Millisecond)
		if keys := server.Keys(); !slices.Equal(keys, []string{"a", "c"}) {
			t.Errorf("the keys are %q, want a and c", keys)
		}
	})
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.NewFaultNode(memory.New(memory.WithName("behind")))
		if f.Name() != "behind" {
			t.Errorf("the name is %q, want that of the node behind it", f.Name())
		}
		start := time.Now()
		setNX(t, f, "k", time.Second)
		f.Set(faulty.Delay(time.Second))
		r, err := f.Eval(t.Context(), lua.Inspect, []string{"k"}, nil)
		if want := (backend.Reply{int64(1), "token", (time.Hour - time.Second).Milliseconds()}); !slices.Equal(r, want) || err != nil {
			t.Errorf("Inspect = %+v, %v, want %+v", r, err, want)
		}
		f.Clear()
		f.Batch(t.Context(), ops())
		f.Batch(t.Context(), nil)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		f.Extend(ended, "k", "token", time.Hour)

		calls := f.Calls()
		var kinds []string
		for _, c := range calls {
			kinds = append(kinds, fmt.Sprint(c.Ops[0].Kind, len(c.Ops), c.Batch))
			if len(c.Results) != len(c.Ops) || c.Start.Before(start) || c.End.Before(c.Start) {
				t.Errorf("call %+v", c)
			}
		}
		want := []string{"SetNX 1 false", "Eval 1 false", "SetNX 5 true", "Extend 1 false"}
		if !slices.Equal(kinds, want) {
			t.Errorf("the calls are %q, want %q", kinds, want)
		}
		if took := calls[1].End.Sub(calls[1].Start); took != time.Second {
			t.Errorf("the call with a delay of a second took %v", took)
		}
		if err := calls[3].Results[0].Err; !errors.Is(err, context.Canceled) || !backend.NotExecuted(err) {
			t.Errorf("the call with an ended ctx has the error %v", err)
		}
		if n := len(f.Arrived()); n != 7 {
			t.Errorf("%d operations arrived, want 7", n)
		}
		f.Forget()
		if len(f.Calls()) != 0 || len(f.Arrived()) != 0 {
			t.Errorf("not forgotten: %v, %v", f.Calls(), f.Arrived())
		}
	})
}

// The record contains a call that is under way, without an end.
func TestRecordOfACallUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.NewFaultNode(memory.New())
		f.Set(faulty.Hang())
		var wg sync.WaitGroup
		wg.Go(func() { setNX(t, f, "k", time.Second) })
		synctest.Wait()
		if calls := f.Calls(); len(calls) != 1 || !calls[0].End.IsZero() || calls[0].Results != nil {
			t.Errorf("the calls are %+v", calls)
		}
		wg.Wait()
		if calls := f.Calls(); len(calls) != 1 || calls[0].End.IsZero() {
			t.Errorf("the calls are %+v", calls)
		}
	})
}

func TestSubscriptionFaults(t *testing.T) {
	const second = time.Second
	for _, tc := range []struct {
		name  string
		fault faulty.Fault
		ready time.Duration // -1 if never
		err   error
	}{
		{"none", nil, 0, context.DeadlineExceeded},
		{"Delay", faulty.Delay(second), second, context.DeadlineExceeded},
		{"DelayReply", faulty.DelayReply(second), second, context.DeadlineExceeded},
		{"Late", faulty.Late(second), second, context.DeadlineExceeded},
		{"Late, after the end", faulty.Late(time.Hour), -1, context.DeadlineExceeded},
		{"Duplicate", faulty.Duplicate(second), 0, context.DeadlineExceeded},
		{"IgnoreCancel", faulty.IgnoreCancel(), 0, context.DeadlineExceeded},
		{"IgnoreContext", faulty.IgnoreContext(), 0, context.DeadlineExceeded},
		{"the fault's own ctx", func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			return next(context.WithoutCancel(ctx), ops)
		}, 0, context.DeadlineExceeded},
		{"Hang", faulty.Hang(), -1, context.DeadlineExceeded},
		{"Refuse", faulty.Refuse(errPlanned), -1, errPlanned},
		{"LoseRequest", faulty.LoseRequest(nil), -1, io.EOF},
		{"LoseReply", faulty.LoseReply(nil), -1, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := memory.New()
				f := faulty.NewFaultNode(server)
				if tc.fault != nil {
					f.Set(tc.fault)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began, ready := time.Now(), time.Duration(-1)
				err := f.Subscribe(ctx, "news", backend.Events{
					Ready:   func() { ready = time.Since(began) },
					Message: func(string) {},
				})
				if !errors.Is(err, tc.err) || ready != tc.ready {
					t.Errorf("ready after %v, ended with %v, want %v and %v", ready, err, tc.ready, tc.err)
				}
				if heard := server.Publish("news", "late"); heard != 0 {
					t.Errorf("%d subscriptions are left", heard)
				}
			})
		})
	}
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.New()
		f := faulty.NewFaultNode(server)
		f.Disconnect() // there is nothing to break
		var errs [2]error
		var heard [2][]string
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				errs[i] = f.Subscribe(t.Context(), "news", backend.Events{
					Ready:   func() {},
					Message: func(m string) { heard[i] = append(heard[i], m) },
				})
			})
		}
		synctest.Wait()
		server.Publish("news", "one")
		synctest.Wait()
		f.Disconnect()
		wg.Wait()
		for i := range errs {
			if !errors.Is(errs[i], faulty.ErrDisconnected) || !slices.Equal(heard[i], []string{"one"}) {
				t.Errorf("subscription %d got %q and ended with %v", i, heard[i], errs[i])
			}
		}
		// The next subscription works.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.Subscribe(ctx, "news", backend.Events{Ready: func() {}, Message: func(string) {}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the next subscription ended with %v", err)
		}
	})
}

// A capability that the node behind lacks is reported as unsupported, and no fault applies.
func TestFaultNodeWithoutCapabilities(t *testing.T) {
	f := faulty.NewFaultNode(faulty.Bare(memory.New()))
	g := faulty.NewFaultNode(faulty.Bare(memory.New()))
	f.Set(faulty.Hang())
	ctx := t.Context()
	_, eval := f.Eval(ctx, lua.Delete, []string{"k"}, []string{"token"})
	results := f.Batch(ctx, ops())
	if len(results) != len(ops()) {
		t.Fatalf("Batch has %d results", len(results))
	}
	for name, err := range map[string]error{
		"Eval": eval, "Batch": results[4].Err,
		"Subscribe": f.Subscribe(ctx, "news", backend.Events{}),
	} {
		if !errors.Is(err, errors.ErrUnsupported) || !backend.NotExecuted(err) {
			t.Errorf("%s has the error %v, want one that matches %v and ErrNotExecuted", name, err, errors.ErrUnsupported)
		}
	}
	if len(f.Calls()) != 0 {
		t.Errorf("the calls are %+v, want none", f.Calls())
	}
	if name := f.Name(); name == "" || name == g.Name() || name != f.Name() {
		t.Errorf("two nodes are named %q, which is now %q, and %q", name, f.Name(), g.Name())
	}
}

// A reconnecter records for which keys it was told to reconnect.
type reconnecter struct {
	backend.Node
	keys []string
}

func (r *reconnecter) Reconnect(key string) { r.keys = append(r.keys, key) }

type explainer struct{ backend.Node }

func (explainer) Hindered() error { return errPlanned }

type addresser struct{ backend.Node }

func (addresser) Address() (address string, instead bool) { return "10.0.0.3:6379", true }

// capable is a node with each capability that passes no fault.
type capable struct {
	*reconnecter
	explainer
	addresser
	backend.Node
}

// A FaultNode has a capability whose methods do nothing if there is nothing to do only if the
// node behind it has it.
func TestFaultNodePassesCapabilities(t *testing.T) {
	node := memory.New()
	r := &reconnecter{Node: node}
	for _, tc := range []struct {
		name                             string
		inner                            backend.Node
		reconnects, explains, hasAddress bool
	}{
		{"none", node, false, false, false},
		{"Reconnecter", r, true, false, false},
		{"Explainer", explainer{node}, false, true, false},
		{"Addresser", addresser{node}, false, false, true},
		{"all", capable{r, explainer{node}, addresser{node}, node}, true, true, true},
		{"all, but hidden", faulty.Bare(capable{r, explainer{node}, addresser{node}, node}), false, false, false},
		{"all behind two", faulty.NewFaultNode(capable{r, explainer{node}, addresser{node}, node}), true, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := faulty.NewFaultNode(tc.inner)
			f.Set(faulty.Refuse(errPlanned))
			r.keys = nil
			reconnecter, ok := backend.As[backend.Reconnecter](f)
			if ok {
				reconnecter.Reconnect("k")
			}
			if ok != tc.reconnects || ok != slices.Equal(r.keys, []string{"k"}) {
				t.Errorf("is a Reconnecter: %v, want %v; it reconnected for %q", ok, tc.reconnects, r.keys)
			}
			explainer, ok := backend.As[backend.Explainer](f)
			if ok != tc.explains || ok && explainer.Hindered() != errPlanned {
				t.Errorf("is an Explainer: %v, want %v", ok, tc.explains)
			}
			addresser, ok := backend.As[backend.Addresser](f)
			if ok != tc.hasAddress {
				t.Errorf("is an Addresser: %v, want %v", ok, tc.hasAddress)
			} else if ok {
				if address, instead := addresser.Address(); address != "10.0.0.3:6379" || !instead {
					t.Errorf("Address = %q, %v", address, instead)
				}
			}
			// Nothing goes past the faults.
			for n := backend.Node(f); n != nil; {
				if got := setNX(t, n, "k", time.Second); !errors.Is(got.err, errPlanned) {
					t.Errorf("SetNX of a %T = %+v, want %v", n, got, errPlanned)
				}
				w, ok := n.(interface{ Unwrap() backend.Node })
				if !ok {
					break
				}
				n = w.Unwrap()
			}
		})
	}
}

func TestBare(t *testing.T) {
	n := faulty.Bare(memory.New())
	if got := setNX(t, n, "k", time.Second); !got.ok {
		t.Errorf("SetNX = %+v", got)
	}
	if ok, err := n.Extend(t.Context(), "k", "token", 2*time.Hour); !ok || err != nil {
		t.Errorf("Extend = %v, %v", ok, err)
	}
	if ok, err := n.EvalDelete(t.Context(), "k", "token"); !ok || err != nil {
		t.Errorf("EvalDelete = %v, %v", ok, err)
	}
	_, batcher := backend.As[backend.Batcher](n)
	_, scripter := backend.As[backend.Scripter](n)
	_, namer := backend.As[backend.Namer](n)
	_, subscriber := backend.As[backend.Subscriber](n)
	if batcher || scripter || namer || subscriber {
		t.Error("a bare node has a capability")
	}
}

// A fault that returns a wrong number of results is a mistake in the test.
func TestWrongNumberOfResults(t *testing.T) {
	f := faulty.NewFaultNode(memory.New())
	f.Set(func(context.Context, []backend.Op, faulty.Send) []backend.Result { return nil })
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f.SetNX(t.Context(), "k", "token", time.Hour)
}

// Faults can be switched while calls are under way.
func TestSwitchingIsSafe(t *testing.T) {
	f := faulty.NewFaultNode(memory.New())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				switch (i + j) % 4 {
				case 0:
					f.Set(faulty.LoseReply(nil), faulty.Duplicate(0))
				case 1:
					f.Clear()
				case 2:
					f.SetNX(t.Context(), fmt.Sprint(j), "token", time.Hour)
				case 3:
					f.Batch(t.Context(), ops())
					f.Calls()
				}
			}
		})
	}
	wg.Wait()
}
