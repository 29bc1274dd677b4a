package peer

import (
	"context"
	"errors"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// CeilingName is the name of the drivers' own pipelines.
const CeilingName = "ceiling"

// A Ceiling sends the two commands of many locks in two round trips: what a driver
// can do at best when it is handed ready batches, and nobody has to hand over an
// operation to another goroutine, or its answer back.
type Ceiling struct {
	Driver string
	Open   func(addr string) (Batch, error)
}

// A Batch sends one command for each key at a time. Its methods may be called
// concurrently.
type Batch interface {
	// Pairs sends a SET NX PX for each key in one batch, and when all are answered
	// the compare-and-delete for each in another.
	Pairs(ctx context.Context, keys []string) error
	Close()
}

// Ceilings is one for each driver.
func Ceilings() []*Ceiling {
	return []*Ceiling{
		{"go-redis", func(addr string) (Batch, error) {
			c, err := rawGoRedis(addr)
			return goRedisBatch{c.(goRedisPair)}, err
		}},
		{"redigo", func(addr string) (Batch, error) {
			c, err := rawRedigo(addr)
			return redigoBatch{c.(redigoPair)}, err
		}},
		{"rueidis", func(addr string) (Batch, error) {
			c, err := rawRueidis(addr)
			if err != nil {
				return nil, err
			}
			return rueidisBatch{c.(rueidisPair)}, nil
		}},
	}
}

type goRedisBatch struct{ goRedisPair }

func (b goRedisBatch) Pairs(ctx context.Context, keys []string) error {
	sets := make([]*goredisdriver.BoolCmd, len(keys))
	if _, err := b.client.Pipelined(ctx, func(p goredisdriver.Pipeliner) error {
		for i, key := range keys {
			sets[i] = p.SetNX(ctx, key, rawToken, TTL)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, set := range sets {
		if !set.Val() {
			return errTaken
		}
	}
	deletes := make([]*goredisdriver.Cmd, len(keys))
	if _, err := b.client.Pipelined(ctx, func(p goredisdriver.Pipeliner) error {
		for i, key := range keys {
			deletes[i] = p.EvalSha(ctx, lua.Delete.Hash(), []string{key}, rawToken)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, d := range deletes {
		if err := deleted(d.Int64()); err != nil {
			return err
		}
	}
	return nil
}

type redigoBatch struct{ redigoPair }

func (b redigoBatch) Pairs(_ context.Context, keys []string) error {
	conn := b.pool.Get()
	defer conn.Close()
	for _, key := range keys {
		if err := conn.Send("SET", key, rawToken, "NX", "PX", TTL.Milliseconds()); err != nil {
			return err
		}
	}
	sets, err := redigodriver.Values(conn.Do(""))
	if err != nil {
		return err
	}
	for _, reply := range sets {
		if reply == nil {
			return errTaken
		}
	}
	for _, key := range keys {
		if err := conn.Send("EVALSHA", lua.Delete.Hash(), 1, key, rawToken); err != nil {
			return err
		}
	}
	deletes, err := redigodriver.Values(conn.Do(""))
	if err != nil {
		return err
	}
	for _, reply := range deletes {
		if err := deleted(redigodriver.Int64(reply, nil)); err != nil {
			return err
		}
	}
	return nil
}

type rueidisBatch struct{ rueidisPair }

func (b rueidisBatch) Pairs(ctx context.Context, keys []string) error {
	commands := make([]rueidisdriver.Completed, len(keys))
	for i, key := range keys {
		commands[i] = b.set(key)
	}
	for _, r := range b.client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return errors.Join(errTaken, err)
		}
	}
	for i, key := range keys {
		commands[i] = b.delete(key)
	}
	for _, r := range b.client.DoMulti(ctx, commands...) {
		if err := deleted(r.AsInt64()); err != nil {
			return err
		}
	}
	return nil
}
