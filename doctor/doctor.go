package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// A Server is one server to check.
type Server struct {
	// Name identifies the server in findings, usually by host and port. It must not
	// contain a password.
	Name string

	// Do sends one command and returns its reply as the driver decodes it: text, a
	// number, a list or a map. All args are strings. An error reply is an error that
	// begins with the words of the server. Do is called by one goroutine at a time for
	// each server. If it does not return when ctx has ended, it is left behind.
	Do func(ctx context.Context, args ...any) (any, error)

	// Node is the node that locks use. Without it, notifications and the probe are not
	// checked.
	Node backend.Node
}

// Settings says how the servers are used. The zero value stands for a Locker with default
// options.
type Settings struct {
	TTL         time.Duration // the longest TTL in use; default [redlock.DefaultTTL]
	NodeTimeout time.Duration // as in [redlock.WithNodeTimeout]; default [redlock.DefaultNodeTimeout]
	KeyPrefix   string        // as in [redlock.WithKeyPrefix]
	Fencing     bool          // locks have fencing tokens ([redlock.WithFencing])
	Quarantine  time.Duration // as in [redlock.WithQuarantine]; 0 means none
	NoProbe     bool          // leave out the probe, which takes a lock of its own
}

// quarantineSlack is how much longer than the TTL a quarantine must be.
const quarantineSlack = time.Second

// longestTTL is the longest TTL of a lock ([redlock.WithTTL]).
const longestTTL = 10 * 365 * 24 * time.Hour

func (s *Settings) complete() error {
	if s.TTL == 0 {
		s.TTL = redlock.DefaultTTL
	}
	if s.NodeTimeout == 0 {
		s.NodeTimeout = redlock.DefaultNodeTimeout
	}
	switch {
	case s.TTL < 0:
		return fmt.Errorf("a TTL of %v: must be positive", s.TTL)
	case s.TTL > longestTTL:
		return fmt.Errorf("a TTL of %v: must be at most %v", s.TTL, longestTTL)
	case s.NodeTimeout < 0:
		return fmt.Errorf("a node timeout of %v: must be positive", s.NodeTimeout)
	case s.Quarantine < 0 || s.Quarantine > 0 && s.Quarantine < s.TTL+quarantineSlack:
		return fmt.Errorf("a quarantine of %v: must be longer than the TTL, %v, by %v", s.Quarantine, s.TTL, quarantineSlack)
	}
	return nil
}

// limit returns how long the doctor waits for one reply. It is longer than the node
// timeout, so that a slow server differs from one that does not answer, and long enough
// to open a connection.
func (s *Settings) limit() time.Duration { return max(4*s.NodeTimeout, 2*time.Second) }

// Check examines servers, all at the same time, and returns everything that it found. It
// returns an error, and no report, if the arguments are invalid, before any I/O, or if
// ctx has ended. A fault of a server is a finding and no error.
//
// It waits for a server that does not answer once, for four node timeouts or 2 s,
// whichever is longer. The trials and the probe set keys of their own, whose names begin
// with the key prefix and "redlock:doctor:" and are random. They are removed before Check
// returns, also after a failure or when ctx has ended. If a server cannot be reached for
// that, they expire within 10 minutes.
func Check(ctx context.Context, servers []Server, s Settings) (Report, error) {
	if err := s.complete(); err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	if len(servers) == 0 {
		return nil, errors.New("doctor: no server is given")
	}
	x := &examination{Settings: s, key: s.ownKey()}
	for i, server := range servers {
		if server.Do == nil {
			return nil, fmt.Errorf("doctor: server %d, %s: Do is nil", i, text.Quote(server.Name))
		}
		// The keys of the trials differ, because two names may lead to one server.
		f := &facts{name: text.Name(server.Name), node: server.Node, do: server.Do, limit: s.limit(), key: s.ownKey(), turn: make(chan struct{}, 1)}
		x.servers = append(x.servers, f)
	}
	var wg sync.WaitGroup
	for _, f := range x.servers {
		wg.Go(func() { f.gather(ctx, x) })
	}
	wg.Wait()
	x.setReference()
	report := x.report(ctx)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("doctor: %w", context.Cause(ctx))
	}
	return report, nil
}

// keyName follows the key prefix in the names of the doctor's own keys.
const keyName = "redlock:doctor:"

// ownKey returns a key that nobody else uses.
func (s *Settings) ownKey() string { return s.KeyPrefix + keyName + rand.Text() }

// An examination is one call of [Check].
type examination struct {
	Settings
	servers   []*facts
	key       string        // of the probe, with the prefix
	reference time.Duration // the right time, relative to this machine's clock
}
