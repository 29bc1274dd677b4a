package peer

import "github.com/redis/go-redis/v9"

// goRedis returns a client with the driver's defaults, except for the size of its pool. All
// libraries with this driver get the same client.
func goRedis(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, PoolSize: MaxClients})
}

// eachGoRedis returns a client for each server, and a function that closes them.
func eachGoRedis(addrs []string) (clients []*redis.Client, closeAll func()) {
	for _, addr := range addrs {
		clients = append(clients, goRedis(addr))
	}
	return clients, func() {
		for _, c := range clients {
			c.Close()
		}
	}
}
