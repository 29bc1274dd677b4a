package doctor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A guarded Do notes how many of its calls run at the same time.
type guarded struct {
	do func(ctx context.Context, args ...any) (any, error)

	mu            sync.Mutex
	running, most int
}

func (g *guarded) Do(ctx context.Context, args ...any) (any, error) {
	g.mu.Lock()
	g.running++
	g.most = max(g.most, g.running)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
	}()
	return g.do(ctx, args...)
}

// Do is called by one goroutine at a time, also after the end of ctx and if it is slow.
func TestOneAtATime(t *testing.T) {
	enough := errors.New("enough")
	for name, tt := range map[string]struct {
		ends  bool // ctx ends while Do runs
		sleep func(ctx context.Context, args []any)
	}{
		"ctx ends, and Do returns soon": {true, func(ctx context.Context, args []any) {
			if args[0] == "INFO" {
				<-ctx.Done()
				time.Sleep(2 * time.Millisecond) // it closes the connection
			}
		}},
		"ctx ends, and Do returns late": {true, func(_ context.Context, args []any) {
			if args[0] == "INFO" {
				time.Sleep(time.Minute)
			}
		}},
		"a notification takes too long": {false, func(_ context.Context, args []any) {
			if args[0] == "EVAL" && args[len(args)-1] == echo {
				time.Sleep(time.Minute)
			}
		}},
		"slow from INFO on": {false, func(_ context.Context, args []any) {
			if args[0] != "PING" {
				time.Sleep(1900 * time.Millisecond)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				f := healthyFake("a")
				g := &guarded{do: func(ctx context.Context, args ...any) (any, error) {
					if tt.ends && args[0] == "INFO" {
						cancel(enough)
					}
					tt.sleep(ctx, args)
					return f.do(ctx, args...)
				}}
				start := time.Now()
				_, err := Check(ctx, []Server{{Name: f.name, Node: f.node, Do: g.Do}}, Settings{})
				if tt.ends != errors.Is(err, enough) {
					t.Errorf("Check: %v", err)
				}
				if took := time.Since(start); took > 25*time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(2 * time.Minute) // what was left behind in Do ends
				g.mu.Lock()
				defer g.mu.Unlock()
				if g.most != 1 {
					t.Errorf("%d calls of Do at the same time", g.most)
				}
			})
		})
	}
}
