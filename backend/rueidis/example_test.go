package rueidis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/rueidis"

	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
)

// A node with a client that the program already has.
func ExampleNew() {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{"127.0.0.1:6379"},
		ForceSingleClient: true, // lets the node go on after some errors
	})
	if client == nil {
		log.Fatal(err)
	}
	defer client.Close()
	node := rueidisnode.New(client, rueidisnode.WithName("eu-1"))

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	granted, err := node.SetNX(ctx, "lock:report", "a random token", 10*time.Second)
	fmt.Println(granted, err)
}

// NewClient does not connect, so the server need not be running.
func ExampleNewClient() {
	client, err := rueidisnode.NewClient("redis://127.0.0.1:6379/0")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(rueidisnode.New(client).Name())
	// Output: 127.0.0.1:6379
}

func ExampleNewClient_badURL() {
	_, err := rueidisnode.NewClient("http://user:password@127.0.0.1:6379")
	fmt.Println(err)
	// Output: rueidis: the URL has an unknown scheme: want redis://, rediss:// or unix://; for a Sentinel set redis+sentinel://, for a Cluster redis+cluster://
}
