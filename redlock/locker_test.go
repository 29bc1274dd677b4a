package redlock

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
)

func TestSmoke(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var nodes []backend.Node
				for range n {
					nodes = append(nodes, memory.New())
				}
				l, err := New(nodes)
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				for range 3 {
					lock, err := l.Lock(ctx, "k")
					if err != nil {
						t.Fatal(err)
					}
					_, err = l.TryLock(ctx, "k")
					if !errors.Is(err, ErrTaken) {
						t.Fatal(err)
					}
					t.Log(err)
					st, _ := l.Inspect(ctx, "k")
					t.Log(st)
					if err := lock.Extend(ctx, time.Minute); err != nil {
						t.Fatal(err)
					}
					if err := lock.Unlock(ctx); err != nil {
						t.Fatal(err)
					}
				}
				err = l.Do(ctx, "k", func(ctx context.Context) error {
					time.Sleep(time.Minute)
					return ctx.Err()
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Close(ctx); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
