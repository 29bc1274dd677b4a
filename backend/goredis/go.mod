module github.com/quorumlock/quorumlock/backend/goredis

go 1.25.0

require (
	github.com/quorumlock/quorumlock v0.1.0
	github.com/redis/go-redis/v9 v9.21.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
)

replace github.com/quorumlock/quorumlock => ../..
