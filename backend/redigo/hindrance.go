package redigo

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomodule/redigo/redis"
)

// Hindered implements [backend.Explainer]. It returns an error if other users have all
// connections that the pool allows.
func (n *Node) Hindered() error { return n.conns.hindered() }

func (s *supply) hindered() error {
	p := s.own
	if p == nil || p.MaxActive == 0 || s.held.Load() > 0 {
		return nil
	}
	if stats := p.Stats(); stats.IdleCount > 0 || stats.ActiveCount < p.MaxActive {
		return nil
	}
	return s.exhausted()
}

// exhausted is the error of a pool without a free connection.
func (s *supply) exhausted() error {
	if s.own == nil {
		return errors.New("no free connection in the pool")
	}
	return fmt.Errorf("no free connection in the pool (size %d)", s.own.MaxActive)
}

// explain returns err, the error of a call that got no connection, and adds the reason if
// that is the pool.
func (s *supply) explain(err error) error {
	if errors.Is(err, redis.ErrPoolExhausted) {
		return fmt.Errorf("%w: %w", s.exhausted(), err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		if why := s.hindered(); why != nil {
			return fmt.Errorf("%w: %w", why, err)
		}
	}
	return err
}
