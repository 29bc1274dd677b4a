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

// The key of the trials is deleted if ctx ends, or the user's rights do, before the trial that
// deletes it.
func TestTrialKeyIsDeleted(t *testing.T) {
	refused := errors.New("NOPERM No permissions to access a key")
	for name, fault := range map[string]func(command string, cancel context.CancelFunc) error{
		"none": func(string, context.CancelFunc) error { return nil },
		"ctx ends after SET": func(command string, cancel context.CancelFunc) error {
			if command == "SET" {
				cancel()
			}
			return nil
		},
		"ctx ends after SET, and the answer is lost": func(command string, cancel context.CancelFunc) error {
			if command == "SET" {
				cancel()
				return context.Canceled
			}
			return nil
		},
		"the first trial is refused": func(command string, _ context.CancelFunc) error {
			if command == "EVAL" {
				return refused
			}
			return nil
		},
		"the server is too slow": func(command string, _ context.CancelFunc) error {
			if command == "SET" {
				time.Sleep(1900 * time.Millisecond)
			} else if command != "PING" && command != "DEL" {
				time.Sleep(1200 * time.Millisecond)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := healthyFake("a")
				left := map[string]bool{}
				do := func(ctx context.Context, args ...any) (any, error) {
					command := args[0].(string)
					if command != "SET" && ctx.Err() != nil {
						return nil, ctx.Err()
					}
					v, err := f.do(ctx, args...)
					switch {
					case command == "SET":
						left[args[1].(string)] = true
					case command == "DEL":
						delete(left, args[1].(string))
					case command == "EVAL" && args[1] == "return 1":
						return v, err
					}
					if err := fault(command, cancel); err != nil {
						return nil, err
					}
					if command == "EVAL" && args[1] == script && ctx.Err() == nil {
						delete(left, args[3].(string))
					}
					return v, err
				}
				_, _ = Check(ctx, []Server{{Name: f.name, Node: f.node, Do: do}}, Settings{})
				if len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		})
	}
}
