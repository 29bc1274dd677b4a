package peer

import "github.com/redis/go-redis/v9"

// goRedis returns a client with the driver's defaults, but for the size of its pool.
// All libraries on this driver get the same.
func goRedis(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, PoolSize: MaxClients})
}

// eachGoRedis returns a client for each server, and what closes them.
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
