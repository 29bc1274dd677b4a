package peer

import (
	"context"
	"time"

	"github.com/redis/rueidis/rueidislock"
)

// Rueidislock is the name of rueidislock.
const Rueidislock = "rueidislock"

// rueidisLock is rueidislock as its documentation recommends for one server of version 7.0.5 or
// later: one key per lock, and NOLOOP. It has its own client, and always extends its locks.
func rueidisLock() *Implementation {
	return &Implementation{Library: Rueidislock, Driver: "rueidis", Module: "github.com/redis/rueidis", OneNode: true, Open: func(addrs []string) (Client, error) {
		return newRueidislockClient(addrs[0], TTL, 0)
	}, OpenKeeper: func(addrs []string, ttl time.Duration) (Keeper, error) {
		c, err := newRueidislockClient(addrs[0], ttl, ttl/3)
		if err != nil {
			return nil, err
		}
		return rueidislockKeeper{c}, nil
	}}
}

type rueidislockClient struct{ locker rueidislock.Locker }

// newRueidislockClient returns a client whose locks are extended at the interval. 0 means the
// library's default.
func newRueidislockClient(addr string, ttl, interval time.Duration) (*rueidislockClient, error) {
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption:   rueidisOption(addr),
		KeyValidity:    ttl,
		ExtendInterval: interval,
		KeyMajority:    1,
		NoLoopTracking: true,
	})
	if err != nil {
		return nil, err
	}
	return &rueidislockClient{locker}, nil
}

// Hold returns no error of the release, because the library has none.
func (c *rueidislockClient) Hold(ctx context.Context, key string, inside func()) error {
	_, cancel, err := c.locker.WithContext(ctx, key)
	if err != nil {
		return err
	}
	inside()
	cancel()
	return nil
}

func (c *rueidislockClient) Close() { c.locker.Close() }
