package peer

import "github.com/gomodule/redigo/redis"

// redigo returns a pool that keeps as many connections as can be in use. With the three of the
// driver's example, most commands would have to dial. All libraries with this driver get the same
// pool.
func redigo(addr string) *redis.Pool {
	return &redis.Pool{
		MaxIdle: MaxClients,
		Dial:    func() (redis.Conn, error) { return redis.Dial("tcp", addr) },
	}
}

// eachRedigo returns a pool for each server, and a function that closes them.
func eachRedigo(addrs []string) (pools []*redis.Pool, closeAll func()) {
	for _, addr := range addrs {
		pools = append(pools, redigo(addr))
	}
	return pools, func() {
		for _, p := range pools {
			p.Close()
		}
	}
}
