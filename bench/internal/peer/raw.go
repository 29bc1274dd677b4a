package peer

import (
	"context"
	"errors"
	"fmt"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// Raw is the name of the drivers' own two commands.
const Raw = "raw"

// rawToken has the length of a lock's token, but is always the same.
const rawToken = "0123456789abcdefghijkl"

var (
	errTaken   = errors.New("raw: somebody else has the key")
	errNotHeld = errors.New("raw: the key is gone")
)

// raw is the minimal cost of a lock: SET NX PX and the script that compares and deletes, as each
// driver sends them, on one server and without waiting.
func raw() []*Implementation {
	one := func(driver, module string, open func(addr string) (Client, error)) *Implementation {
		return &Implementation{Library: Raw, Driver: driver, Module: module, OneNode: true, Alone: true, Open: func(addrs []string) (Client, error) {
			return open(addrs[0])
		}}
	}
	return []*Implementation{
		one("go-redis", "github.com/redis/go-redis/v9", rawGoRedis),
		one("redigo", "github.com/gomodule/redigo", rawRedigo),
		one("rueidis", "github.com/redis/rueidis", rawRueidis),
	}
}

type goRedisPair struct{ client *goredisdriver.Client }

func rawGoRedis(addr string) (Client, error) {
	client := goRedis(addr)
	return goRedisPair{client}, client.ScriptLoad(context.Background(), lua.Delete.Source()).Err()
}

func (p goRedisPair) Hold(ctx context.Context, key string, inside func()) error {
	ok, err := p.client.SetNX(ctx, key, rawToken, TTL).Result()
	if err != nil {
		return err
	}
	if !ok {
		return errTaken
	}
	inside()
	n, err := p.client.EvalSha(context.Background(), lua.Delete.Hash(), []string{key}, rawToken).Int64()
	return deleted(n, err)
}

func (p goRedisPair) Close() { p.client.Close() }

type redigoPair struct{ pool *redigodriver.Pool }

func rawRedigo(addr string) (Client, error) {
	p := redigoPair{redigo(addr)}
	_, err := p.do("SCRIPT", "LOAD", lua.Delete.Source())
	return p, err
}

func (p redigoPair) do(command string, args ...any) (any, error) {
	conn := p.pool.Get()
	defer conn.Close()
	return conn.Do(command, args...)
}

func (p redigoPair) Hold(_ context.Context, key string, inside func()) error {
	reply, err := p.do("SET", key, rawToken, "NX", "PX", TTL.Milliseconds())
	if err != nil {
		return err
	}
	if reply == nil {
		return errTaken
	}
	inside()
	return deleted(redigodriver.Int64(p.do("EVALSHA", lua.Delete.Hash(), 1, key, rawToken)))
}

func (p redigoPair) Close() { p.pool.Close() }

type rueidisPair struct{ client rueidisdriver.Client }

func rawRueidis(addr string) (Client, error) {
	client, err := rueidisdriver.NewClient(rueidisOption(addr))
	if err != nil {
		return nil, err
	}
	return rueidisPair{client}, client.Do(context.Background(), client.B().ScriptLoad().Script(lua.Delete.Source()).Build()).Error()
}

func (p rueidisPair) Hold(ctx context.Context, key string, inside func()) error {
	err := p.client.Do(ctx, p.set(key)).Error()
	if rueidisdriver.IsRedisNil(err) {
		return errTaken
	}
	if err != nil {
		return err
	}
	inside()
	return deleted(p.client.Do(context.Background(), p.delete(key)).AsInt64())
}

func (p rueidisPair) set(key string) rueidisdriver.Completed {
	return p.client.B().Set().Key(key).Value(rawToken).Nx().PxMilliseconds(TTL.Milliseconds()).Build()
}

func (p rueidisPair) delete(key string) rueidisdriver.Completed {
	return p.client.B().Evalsha().Sha1(lua.Delete.Hash()).Numkeys(1).Key(key).Arg(rawToken).Build()
}

func (p rueidisPair) Close() { p.client.Close() }

// deleted converts the script's reply to an error.
func deleted(n int64, err error) error {
	if err == nil && n != 1 {
		err = fmt.Errorf("%w: the script says %d", errNotHeld, n)
	}
	return err
}
