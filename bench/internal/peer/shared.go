package peer

import (
	"context"

	"github.com/quorumlock/quorumlock/redlock"
)

// Shared is the name of this project's library with shared locks.
const Shared = "quorumlock-shared"

// shared is this library with shared locks, with each of its adapters. They exclude nobody else
// who shares, so they have no part in a drain or a hand-over.
func shared() []*Implementation {
	own := func(driver string, open nodes) *Implementation {
		return &Implementation{Library: Shared, Driver: driver, Module: ownModule, Alone: true, Open: func(addrs []string) (Client, error) {
			c, err := newOwnClient(open, addrs, redlock.WithTTL(TTL))
			return &sharedClient{c}, err
		}}
	}
	return []*Implementation{own("go-redis", goRedisNodes), own("redigo", redigoNodes), own("rueidis", rueidisNodes)}
}

type sharedClient struct{ *ownClient }

func (c *sharedClient) Hold(ctx context.Context, key string, inside func()) error {
	lock, err := c.locker.RLock(ctx, key)
	if err != nil {
		return err
	}
	inside()
	return lock.Unlock(context.Background())
}
