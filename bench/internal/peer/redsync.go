package peer

import (
	"context"
	"math"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	redsyncredigo "github.com/go-redsync/redsync/v4/redis/redigo"
	redsyncrueidis "github.com/go-redsync/redsync/v4/redis/rueidis"
	"github.com/redis/rueidis/rueidiscompat"
)

// Redsync and RedsyncFailFast are the names of redsync without and with its option to return as
// soon as a quorum has answered.
const (
	Redsync         = "redsync"
	RedsyncFailFast = "redsync-failfast"
)

const redsyncModule = "github.com/go-redsync/redsync/v4"

// pools returns a pool for each server, with one driver.
type pools func(addrs []string) (list []redsyncredis.Pool, closeAll func(), err error)

func goRedisPools(addrs []string) (list []redsyncredis.Pool, closeAll func(), err error) {
	clients, closeAll := eachGoRedis(addrs)
	for _, c := range clients {
		list = append(list, redsyncgoredis.NewPool(c))
	}
	return list, closeAll, nil
}

func redigoPools(addrs []string) (list []redsyncredis.Pool, closeAll func(), err error) {
	inner, closeAll := eachRedigo(addrs)
	for _, p := range inner {
		list = append(list, redsyncredigo.NewPool(p))
	}
	return list, closeAll, nil
}

func rueidisPools(addrs []string) (list []redsyncredis.Pool, closeAll func(), err error) {
	clients, closeAll, err := eachRueidis(addrs)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range clients {
		list = append(list, redsyncrueidis.NewPool(rueidiscompat.NewAdapter(c)))
	}
	return list, closeAll, nil
}

// redsyncs is redsync with each driver, with and without fail-fast. It has its defaults, except
// that only ctx limits its attempts, as with the other libraries. With the default of 32
// attempts, some of many clients would not get the lock.
func redsyncs() []*Implementation {
	var all []*Implementation
	add := func(library, driver string, open pools, same bool, opts ...redsync.Option) {
		opts = append(opts, redsync.WithExpiry(TTL), redsync.WithTries(math.MaxInt32))
		all = append(all, &Implementation{Library: library, Driver: driver, Module: redsyncModule, Same: same, Open: func(addrs []string) (Client, error) {
			list, closeAll, err := open(addrs)
			if err != nil {
				return nil, err
			}
			return &redsyncClient{redsync.New(list...), opts, closeAll}, nil
		}})
	}
	for _, d := range []struct {
		driver string
		open   pools
		same   bool
	}{
		{"go-redis", goRedisPools, false},
		{"redigo", redigoPools, true},
		{"rueidis", rueidisPools, true},
	} {
		add(Redsync, d.driver, d.open, d.same)
		add(RedsyncFailFast, d.driver, d.open, d.same, redsync.WithFailFast(true))
	}
	return all
}

type redsyncClient struct {
	rs    *redsync.Redsync
	opts  []redsync.Option
	close func()
}

func (c *redsyncClient) Hold(ctx context.Context, key string, inside func()) error {
	mutex := c.rs.NewMutex(key, c.opts...)
	if err := mutex.LockContext(ctx); err != nil {
		return err
	}
	inside()
	_, err := mutex.UnlockContext(context.Background())
	return err
}

func (c *redsyncClient) Close() { c.close() }
