package peer

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	redigonode "github.com/quorumlock/quorumlock/backend/redigo"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	"github.com/quorumlock/quorumlock/redlock"
)

// Own is the name of this project's library.
const Own = "quorumlock"

const ownModule = "github.com/quorumlock/quorumlock"

// nodes returns a node for each server, with one driver.
type nodes func(addrs []string) (list []backend.Node, closeAll func(), err error)

func goRedisNodes(addrs []string) (list []backend.Node, closeAll func(), err error) {
	clients, closeAll := eachGoRedis(addrs)
	for _, c := range clients {
		list = append(list, goredis.New(c))
	}
	return list, closeAll, nil
}

func redigoNodes(addrs []string) (list []backend.Node, closeAll func(), err error) {
	pools, closeAll := eachRedigo(addrs)
	for i, p := range pools {
		list = append(list, redigonode.New(p, redigonode.WithName(addrs[i])))
	}
	return list, closeAll, nil
}

func rueidisNodes(addrs []string) (list []backend.Node, closeAll func(), err error) {
	clients, closeAll, err := eachRueidis(addrs)
	if err != nil {
		return nil, nil, err
	}
	for i, c := range clients {
		list = append(list, rueidisnode.New(c, rueidisnode.WithName(addrs[i])))
	}
	return list, closeAll, nil
}

// quorumlock is this project's library, with each of its adapters.
func quorumlock() []*Implementation {
	own := func(driver string, open nodes) *Implementation {
		return &Implementation{
			Library: Own, Driver: driver, Module: ownModule,
			Open:       func(addrs []string) (Client, error) { return newOwnClient(open, addrs, redlock.WithTTL(TTL)) },
			OpenKeeper: func(addrs []string, ttl time.Duration) (Keeper, error) { return newOwnKeeper(open, addrs, ttl) },
		}
	}
	return []*Implementation{own("go-redis", goRedisNodes), own("redigo", redigoNodes), own("rueidis", rueidisNodes)}
}

type ownClient struct {
	locker *redlock.Locker
	close  func()
}

func newOwnClient(open nodes, addrs []string, opts ...redlock.Option) (*ownClient, error) {
	list, closeAll, err := open(addrs)
	if err != nil {
		return nil, err
	}
	locker, err := redlock.New(list, opts...)
	if err != nil {
		closeAll()
		return nil, err
	}
	return &ownClient{locker, closeAll}, nil
}

func (c *ownClient) Hold(ctx context.Context, key string, inside func()) error {
	lock, err := c.locker.Lock(ctx, key)
	if err != nil {
		return err
	}
	inside()
	return lock.Unlock(context.Background())
}

// HoldAll implements [Joint].
func (c *ownClient) HoldAll(ctx context.Context, keys []string, inside func()) error {
	locks, err := c.locker.LockAll(ctx, keys)
	if err != nil {
		return err
	}
	inside()
	return locks.Unlock(context.Background())
}

func (c *ownClient) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	c.locker.Close(ctx) // the remaining locks expire
	c.close()
}
