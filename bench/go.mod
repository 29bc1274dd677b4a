module github.com/quorumlock/quorumlock/bench

go 1.25.0

require (
	github.com/bsm/redislock v0.9.4
	github.com/go-redsync/redsync/v4 v4.17.0
	github.com/gomodule/redigo v1.9.3
	github.com/quorumlock/quorumlock v0.1.0
	github.com/quorumlock/quorumlock/backend/goredis v0.1.0
	github.com/quorumlock/quorumlock/backend/redigo v0.1.0
	github.com/quorumlock/quorumlock/backend/rueidis v0.1.0
	github.com/redis/go-redis/v9 v9.21.0
	github.com/redis/rueidis v1.0.76
	github.com/redis/rueidis/rueidiscompat v1.0.76
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
)

replace (
	github.com/quorumlock/quorumlock => ..
	github.com/quorumlock/quorumlock/backend/goredis => ../backend/goredis
	github.com/quorumlock/quorumlock/backend/redigo => ../backend/redigo
	github.com/quorumlock/quorumlock/backend/rueidis => ../backend/rueidis
)
