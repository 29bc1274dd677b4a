package redigo_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/gomodule/redigo/redis"

	redigonode "github.com/quorumlock/quorumlock/backend/redigo"
)

func ExampleNew() {
	pool := &redis.Pool{
		MaxIdle: 16,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", "10.0.0.1:6379")
		},
	}
	defer pool.Close()
	node := redigonode.New(pool, redigonode.WithName("10.0.0.1:6379"))

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := node.SetNX(ctx, "key", "token", time.Minute); err != nil {
		log.Print(err)
	}
}

func ExampleNewPool() {
	_, err := redigonode.NewPool("http://user:secret@10.0.0.1:6379")
	fmt.Println(err)
	// Output:
	// redigo: the URL has an unknown scheme: want redis://, rediss:// or unix://; for a Sentinel set redis+sentinel://, for a Cluster redis+cluster://
}
