package waiting

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A key of another program that expires in more than 292 years, such as after EXPIRE with a time in
// milliseconds, is waited for like any other. Before, each such waiter asked thousands of times a
// second.
func TestKeyThatExpiresInCenturies(t *testing.T) {
	server := servers.Start(t, servers.Any, 1)[0]
	for _, ms := range []int64{10_000_000_000_000, 18_446_744_073_720, 1_785_000_000_000_000} {
		var rounds atomic.Int64
		locker, err := redlock.New([]backend.Node{drivers.All[0].Node(t, server.Addr())}, redlock.WithHooks(redlock.Hooks{
			Round: func(context.Context, redlock.Event) { rounds.Add(1) },
		}))
		if err != nil {
			t.Fatal(err)
		}
		server.Do(t, "SET", key, "foreign", "PX", ms)
		for name, opts := range map[string][]redlock.LockOption{"plain": nil, "fenced": {redlock.WithFencing()}} {
			rounds.Store(0)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			if _, err := locker.Lock(ctx, key, opts...); !errors.Is(err, redlock.ErrTaken) {
				t.Errorf("%s, PX %d: Lock returns %v, want ErrTaken", name, ms, err)
			}
			cancel()
			// It looks every 250 ms ± 25 %, and once or twice before that.
			if n := rounds.Load(); n < 2 || n > 12 {
				t.Errorf("%s, PX %d: %d attempts in 1.5 s, want about 8", name, ms, n)
			}
		}
		status, err := locker.Inspect(t.Context(), key)
		if err != nil || len(status.Nodes) != 1 || status.Nodes[0].TTL < 100*365*24*time.Hour {
			t.Errorf("PX %d: Inspect returns %+v, %v, want a century at least", ms, status, err)
		}
		server.Do(t, "DEL", key)
	}
}
