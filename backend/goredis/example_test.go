package goredis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
)

func ExampleNew() {
	client, err := goredis.NewClient("redis://localhost:6379/0")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var node backend.Node = goredis.New(client)

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ok, err := node.SetNX(ctx, "lock:orders/42", "a token that nobody else has", 10*time.Second)
	fmt.Println(ok, err)
}

// Three nodes, with clients that a program already has.
func ExampleNew_quorum() {
	var nodes []backend.Node
	for _, addr := range []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"} {
		nodes = append(nodes, goredis.New(redis.NewClient(&redis.Options{Addr: addr})))
	}
	for _, n := range nodes {
		namer, _ := backend.As[backend.Namer](n)
		fmt.Println(namer.Name())
	}
	// Output:
	// 10.0.0.1:6379
	// 10.0.0.2:6379
	// 10.0.0.3:6379
}

// For a Sentinel set the node needs a name, because the client does not provide one.
func ExampleWithName() {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "orders",
		SentinelAddrs: []string{"10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"},
	})
	defer client.Close()

	node := goredis.New(client, goredis.WithName("sentinel/orders"))
	fmt.Println(node.Name())
	// Output: sentinel/orders
}

func ExampleNewClient_error() {
	_, err := goredis.NewClient("http://user:password@localhost:6379")
	fmt.Println(err)
	// Output: goredis: the URL has an unknown scheme: want redis://, rediss:// or unix://; for a Sentinel set redis+sentinel://, for a Cluster redis+cluster://
}

// A Cluster is one node, like a single server.
func ExampleNewUniversalClient() {
	client, err := goredis.NewUniversalClient("redis+cluster://:password@10.0.0.1?addr=10.0.0.2&addr=10.0.0.3")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(goredis.New(client).Name())
	// Output: 10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379
}
