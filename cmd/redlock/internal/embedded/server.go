package embedded

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	redisserver "github.com/alicebob/miniredis/v2/server"
)

const (
	tick = 5 * time.Millisecond

	// leap is the most that the clock of a server goes on at once. If the whole
	// process stands still for long, its servers stand still as well, rather
	// than let every lock expire before their holders can look at the time.
	leap = 5 * tick
)

// Server is a Redis server that listens on 127.0.0.1. Its methods may be called
// concurrently, but for those that change whether it lives.
type Server struct {
	relay  *relay
	locks  atomic.Int64 // commands about locks that reached it
	clock  sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex
	redis *miniredis.Miniredis // nil while it is dead
}

// Start starts an empty server at an address of its own. Its caller closes it.
func Start() (*Server, error) {
	s := &Server{}
	redis, err := s.fresh()
	if err != nil {
		return nil, err
	}
	if s.relay, err = newRelay(redis.Addr()); err != nil {
		redis.Close()
		return nil, err
	}
	s.redis = redis
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.clock.Go(func() { s.pass(ctx) })
	return s, nil
}

// fresh starts what is behind the relay, empty.
func (s *Server) fresh() (*miniredis.Miniredis, error) {
	redis := miniredis.NewMiniRedis()
	if err := redis.Start(); err != nil {
		return nil, err
	}
	redis.Server().SetPreHook(func(_ *redisserver.Peer, command string, _ ...string) bool {
		switch strings.ToUpper(command) {
		case "SET", "EVAL", "EVALSHA": // not what opens connections
			s.locks.Add(1)
		}
		return false
	})
	return redis, nil
}

// pass lets time pass on the server until ctx ends: by itself it expires no keys.
func (s *Server) pass(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if redis := s.Redis(); redis != nil {
			redis.FastForward(min(now.Sub(last), leap))
		}
		last = now
	}
}

// Addr returns the host and port of the server, which stay the same.
func (s *Server) Addr() string { return s.relay.addr }

// Redis returns what is behind the address, for a look that needs no
// connection, or nil while the server is dead.
func (s *Server) Redis() *miniredis.Miniredis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redis
}

// Commands returns how many commands about locks have reached the server.
func (s *Server) Commands() int64 { return s.locks.Load() }

// Kill ends the server at once: its connections break, further ones are refused,
// and its data is gone.
func (s *Server) Kill() {
	redis := s.Redis()
	s.mu.Lock()
	s.redis = nil
	s.mu.Unlock()
	s.relay.down()
	redis.Close()
}

// Restart brings a killed server back at the same address, empty. It waits
// while something else uses the address, until ctx ends.
func (s *Server) Restart(ctx context.Context) error {
	redis, err := s.fresh()
	if err != nil {
		return err
	}
	if err := s.relay.up(ctx, redis.Addr()); err != nil {
		redis.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redis = redis
	return nil
}

// Hang lets the server take connections and commands, and answer nothing.
func (s *Server) Hang() { s.relay.stall() }

// Resume ends Hang. The server carries out, and answers, what it was sent
// meanwhile.
func (s *Server) Resume() { s.relay.resume() }

// Close ends the server for good.
func (s *Server) Close() {
	if s.Redis() != nil {
		s.Kill()
	}
	s.cancel()
	s.clock.Wait()
}
