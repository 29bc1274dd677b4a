package peer

import (
	"context"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

// Redislock is the name of bsm/redislock.
const Redislock = "redislock"

// redislockOptions are the options of the library's example for waiting: an attempt every 100 ms.
// Only ctx limits the number of attempts.
var redislockOptions = &redislock.Options{RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond)}

func bsm() *Implementation {
	return &Implementation{Library: Redislock, Driver: "go-redis", Module: "github.com/bsm/redislock", OneNode: true, Open: func(addrs []string) (Client, error) {
		client := goRedis(addrs[0])
		return &redislockClient{redislock.New(client), client}, nil
	}}
}

type redislockClient struct {
	locker *redislock.Client
	client *redis.Client
}

func (c *redislockClient) Hold(ctx context.Context, key string, inside func()) error {
	lock, err := c.locker.Obtain(ctx, key, TTL, redislockOptions)
	if err != nil {
		return err
	}
	inside()
	return lock.Release(context.Background())
}

func (c *redislockClient) Close() { c.client.Close() }
