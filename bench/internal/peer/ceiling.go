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

// A Batch sends many commands at a time. Its methods may be called concurrently.
type Batch interface {
	// Send sends the commands together. It fails if one of them does.
	Send(ctx context.Context, commands []Command) error
	Close()
}

// A Command is one of the two commands of a pair: the SET NX PX of a key, or the release script.
type Command struct {
	Key     string
	Release bool
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

func (b goRedisBatch) Send(ctx context.Context, commands []Command) error {
	replies, err := b.client.Pipelined(ctx, func(p goredisdriver.Pipeliner) error {
		for _, c := range commands {
			if c.Release {
				p.EvalSha(ctx, lua.Release.Hash(), []string{c.Key, queueOf(c.Key)}, rawToken)
			} else {
				p.SetNX(ctx, c.Key, rawToken, TTL)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, reply := range replies {
		switch reply := reply.(type) {
		case *goredisdriver.BoolCmd:
			if !reply.Val() {
				return errTaken
			}
		case *goredisdriver.Cmd:
			if err := deleted(reply.Int64()); err != nil {
				return err
			}
		}
	}
	return nil
}

type redigoBatch struct{ redigoPair }

func (b redigoBatch) Send(_ context.Context, commands []Command) error {
	conn := b.pool.Get()
	defer conn.Close()
	for _, c := range commands {
		var err error
		if c.Release {
			err = conn.Send("EVALSHA", lua.Release.Hash(), 2, c.Key, queueOf(c.Key), rawToken)
		} else {
			err = conn.Send("SET", c.Key, rawToken, "NX", "PX", TTL.Milliseconds())
		}
		if err != nil {
			return err
		}
	}
	replies, err := redigodriver.Values(conn.Do(""))
	if err != nil {
		return err
	}
	for i, reply := range replies {
		if commands[i].Release {
			if err := deleted(redigodriver.Int64(reply, nil)); err != nil {
				return err
			}
		} else if reply == nil {
			return errTaken
		}
	}
	return nil
}

type rueidisBatch struct{ rueidisPair }

func (b rueidisBatch) Send(ctx context.Context, commands []Command) error {
	all := make([]rueidisdriver.Completed, len(commands))
	for i, c := range commands {
		if c.Release {
			all[i] = b.client.B().Evalsha().Sha1(lua.Release.Hash()).Numkeys(2).Key(c.Key, queueOf(c.Key)).Arg(rawToken).Build()
		} else {
			all[i] = b.set(c.Key)
		}
	}
	for i, r := range b.client.DoMulti(ctx, all...) {
		if commands[i].Release {
			if err := deleted(r.AsInt64()); err != nil {
				return err
			}
		} else if err := r.Error(); err != nil {
			return errors.Join(errTaken, err)
		}
	}
	return nil
}
