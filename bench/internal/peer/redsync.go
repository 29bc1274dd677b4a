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

// Redsync and RedsyncFailFast are names of redsync without and with its option to
// return when a quorum has answered.
const (
	Redsync         = "redsync"
	RedsyncFailFast = "redsync-failfast"
)

const redsyncModule = "github.com/go-redsync/redsync/v4"

// pools makes a pool of each server with one driver.
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

// redsyncs is redsync with each driver, with and without fail-fast. Its defaults,
// but that it goes on trying for as long as ctx lets it, as the others do: after 32
// tries it would leave some of many clients without the lock.
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
