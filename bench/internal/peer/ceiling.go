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

// A Ceiling sends the two commands that this project's library sends, for many locks in two round
// trips. This is the best that a driver can do: it gets complete batches, and no operation or
// reply has to be passed to another goroutine.
type Ceiling struct {
	Driver string
	Open   func(addr string) (Batch, error)
}

// A Batch sends one command for each of several keys at a time. Its methods may be called
// concurrently.
type Batch interface {
	// Pairs sends a SET NX PX for each key in one batch. When all are answered, it sends the
	// release script for each key in another batch.
	Pairs(ctx context.Context, keys []string) error
	Close()
}

// Ceilings has one ceiling for each driver.
func Ceilings() []*Ceiling {
	ctx, source := context.Background(), lua.Release.Source()
	return []*Ceiling{
		{"go-redis", func(addr string) (Batch, error) {
			c := goRedis(addr)
			return goRedisBatch{goRedisPair{c}}, c.ScriptLoad(ctx, source).Err()
		}},
		{"redigo", func(addr string) (Batch, error) {
			p := redigoPair{redigo(addr)}
			_, err := p.do("SCRIPT", "LOAD", source)
			return redigoBatch{p}, err
		}},
		{"rueidis", func(addr string) (Batch, error) {
			c, err := rueidisdriver.NewClient(rueidisOption(addr))
			if err != nil {
				return nil, err
			}
			return rueidisBatch{rueidisPair{c}}, c.Do(ctx, c.B().ScriptLoad().Script(source).Build()).Error()
		}},
	}
}

// queueOf returns the name of a key's queue, as the library does.
func queueOf(key string) string { return key + "{" + key + "}:queue" }

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
			deletes[i] = p.EvalSha(ctx, lua.Release.Hash(), []string{key, queueOf(key)}, rawToken)
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
		if err := conn.Send("EVALSHA", lua.Release.Hash(), 2, key, queueOf(key), rawToken); err != nil {
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
		commands[i] = b.client.B().Evalsha().Sha1(lua.Release.Hash()).Numkeys(2).Key(key, queueOf(key)).Arg(rawToken).Build()
	}
	for _, r := range b.client.DoMulti(ctx, commands...) {
		if err := deleted(r.AsInt64()); err != nil {
			return err
		}
	}
	return nil
}
