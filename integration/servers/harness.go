package servers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/quorumlock/quorumlock/internal/port"
)

// A rung is one way to get servers.
type rung interface {
	// kinds returns the kinds that it has, at least one.
	kinds() []Kind
	// supports returns an [unsupported] error if it cannot run s.
	supports(s *spec) error
	// launch runs a server that listens at port. If in is not nil, the server joins the others of
	// that group. It returns an error that matches errPortTaken if another process has the port.
	launch(ctx context.Context, s *spec, port int, in group) (machine, error)
	// group prepares a place for servers that reach each other at the addresses by which the test
	// reaches them.
	group(ctx context.Context, kind Kind, ports []int) (group, error)
	// close frees what the rung itself holds, after all its servers.
	close()
}

// A group is what servers that talk to each other share.
type group interface{ remove(context.Context) error }

var errPortTaken = errors.New("the port is taken")

// unsupported is the error, with the reason, for what a rung cannot do.
type unsupported string

func (u unsupported) Error() string { return string(u) }

func (u unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// harness owns every server that a test process runs.
type harness struct {
	rung rung

	mu   sync.Mutex
	idle map[Kind][]*Server // plain, healthy, and not in use
	live map[*Server]bool   // all servers to remove at the end
	grps map[group]bool
}

func newHarness(r rung) *harness {
	h := &harness{rung: r, idle: map[Kind][]*Server{}, live: map[*Server]bool{}, grps: map[group]bool{}}
	if given, ok := r.(*given); ok {
		h.idle[given.kind] = slices.Clone(given.servers)
	}
	return h
}

// current is the harness that Main has opened.
var current atomic.Pointer[harness]

func use(t testing.TB) *harness {
	t.Helper()
	h := current.Load()
	if h == nil {
		t.Fatal("servers: TestMain does not call servers.Main")
	}
	// go test does not know what Main has read before the tests began, so it would use cached
	// results of another rung.
	fromEnv()
	return h
}

// Main runs the tests of a package that uses servers. It finds the rung, prints which and why,
// and removes at the end what the tests have started. It does not return: the process exits with
// the tests' result, or with 1 if no rung that the environment allows is available.
func Main(m *testing.M) {
	// These tests wait more than they compute. A flag on the command line takes precedence.
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err) // the flag does not exist
	}
	os.Exit(Run(m.Run))
}

// Run is [Main] for a program that is not a test. It runs f, which can start servers, and returns
// the result of f, or 1 if no rung is available.
func Run(f func() int) int {
	ctx := context.Background()
	r, why, err := climb(ctx, fromEnv(), ladder)
	if err != nil {
		fmt.Println("servers:", err)
		return 1
	}
	fmt.Println("servers:", why)
	h := newHarness(r)
	current.Store(h)
	defer h.close()

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-interrupted
		h.close()
		os.Exit(130)
	}()
	return f()
}

// Start gives the test n empty servers of a kind, all of which answer. They belong to the test
// until it ends. If the rung lacks the kind, or cannot do what the options request, the test is
// skipped with the reason. If the servers cannot be started, the test fails.
func Start(t testing.TB, kind Kind, n int, opts ...Option) []*Server {
	t.Helper()
	h := use(t)
	s := newSpec(h.pick(t, kind), opts)
	orSkip(t, h.rung.supports(&s))
	if s.clock {
		library, err := buildClock()
		if err != nil {
			Require(t, "%v", err)
		}
		s.files[clockLibrary] = library
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := h.acquire(ctx, &s, n)
	orSkip(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.release(ctx, list); err != nil {
			t.Errorf("servers: give back: %v", err)
		}
	})
	return list
}

// Require ends a test because this machine lacks something else, for example a program. The test
// is skipped with the reason, or fails if QUORUMLOCK_REQUIRE_CONTAINERS is set, because then
// nothing may be missing.
func Require(t testing.TB, format string, args ...any) {
	t.Helper()
	lack := fmt.Sprintf("servers: %s needs ", t.Name()) + fmt.Sprintf(format, args...)
	if fromEnv().require {
		t.Fatal(lack)
	}
	t.Skip(lack)
}

// pick resolves Any, and skips the test if the rung lacks the kind.
func (h *harness) pick(t testing.TB, kind Kind) Kind {
	t.Helper()
	kinds := h.rung.kinds()
	if kind == Any {
		return kinds[0]
	}
	if !slices.Contains(kinds, kind) {
		t.Skipf("servers: %s: no %s here, but %v", t.Name(), kind, kinds)
	}
	return kind
}

// orSkip ends the test if err is not nil.
func orSkip(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("servers: %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatalf("servers: %v", err)
	}
}

// acquire returns n empty servers: idle ones first, then new ones.
func (h *harness) acquire(ctx context.Context, s *spec, n int) ([]*Server, error) {
	if err := h.rung.supports(s); err != nil {
		return nil, err
	}
	list := make([]*Server, n)
	if s.plain() {
		h.mu.Lock()
		idle := h.idle[s.kind]
		rest := max(0, len(idle)-n)
		copy(list, idle[rest:])
		h.idle[s.kind] = idle[:rest]
		h.mu.Unlock()
	}
	err := concurrently(n, func(i int) error {
		if list[i] != nil {
			if list[i].reset(ctx) == nil {
				return nil
			}
			h.remove(ctx, list[i]) // even if a test has changed it
		}
		var err error
		list[i], err = h.launch(ctx, s, 0, nil)
		return err
	})
	if err != nil {
		h.release(ctx, slices.DeleteFunc(list, func(s *Server) bool { return s == nil }))
		return nil, err
	}
	return list, nil
}

// launch runs a server at a port, or at any port if it is 0, and waits until the server answers.
func (h *harness) launch(ctx context.Context, s *spec, at int, in group) (*Server, error) {
	for {
		p := at
		if p == 0 {
			var err error
			if p, err = port.Take(); err != nil {
				return nil, err
			}
		}
		own := *s
		if s.clock {
			var err error
			if own.dial, err = newClock(); err != nil {
				return nil, err
			}
		}
		m, err := h.rung.launch(ctx, &own, p, in)
		if err != nil {
			err = errors.Join(err, own.dial.remove())
		}
		if errors.Is(err, errPortTaken) && at == 0 {
			continue // and never free that port
		}
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.kind, err)
		}
		server := &Server{kind: s.kind, addr: port.Addr(p), spec: own, port: p, machine: m}
		h.mu.Lock()
		h.live[server] = true
		h.mu.Unlock()
		if err = server.ready(ctx); err == nil {
			err = own.dial.found()
		}
		if err == nil {
			return server, nil
		}
		h.remove(context.WithoutCancel(ctx), server)
		if !errors.Is(err, errPortTaken) || at != 0 {
			return nil, fmt.Errorf("start %s: %w", s.kind, err)
		}
	}
}

// release takes servers back. It prepares plain ones for the next test, and removes the others.
func (h *harness) release(ctx context.Context, list []*Server) error {
	return concurrently(len(list), func(i int) error {
		s := list[i]
		if !s.spec.plain() || s.heal(ctx) != nil {
			return h.remove(ctx, s)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.idle[s.kind] = append(h.idle[s.kind], s)
		return nil
	})
}

func (h *harness) remove(ctx context.Context, s *Server) error {
	err := s.remove(ctx)
	if err == nil {
		h.mu.Lock()
		delete(h.live, s)
		h.mu.Unlock()
	}
	return err
}

func (h *harness) removeGroup(ctx context.Context, g group) error {
	err := g.remove(ctx)
	if err == nil {
		h.mu.Lock()
		delete(h.grps, g)
		h.mu.Unlock()
	}
	return err
}

// close removes all remaining servers.
func (h *harness) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.mu.Lock()
	var list []*Server
	for s := range h.live {
		list = append(list, s)
	}
	var groups []group
	for g := range h.grps {
		groups = append(groups, g)
	}
	h.mu.Unlock()
	err := errors.Join(
		concurrently(len(list), func(i int) error { return h.remove(ctx, list[i]) }),
		concurrently(len(groups), func(i int) error { return h.removeGroup(ctx, groups[i]) }))
	if err != nil {
		fmt.Println("servers:", err)
	}
	h.rung.close()
}

// concurrently runs f for 0 to n-1 at once and returns their joined errors.
func concurrently(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
