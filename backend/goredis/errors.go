package goredis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

var (
	errRing = fmt.Errorf("goredis: a redis.Ring moves a key to another server when one is down, "+
		"which can grant a lock twice: make a node of each of its servers: %w", errors.ErrUnsupported)

	errWrapped = fmt.Errorf("goredis: cannot subscribe through a client "+
		"that is neither a *redis.Client nor a *redis.ClusterClient: %w", errors.ErrUnsupported)

	errStrays = errors.New("goredis: too many calls are under way in the client past their deadline")

	errNoMasters = errors.New("goredis: the cluster has no masters")

	errUnanswered = errors.New("goredis: the driver reports neither a reply nor an error")
)

// failure returns err, the driver's error for c, with the marks that package backend
// requires. The driver's own error stays in its chain.
func (c *command) failure(err error) error {
	if err == nil {
		return nil
	}
	if isReply(err) {
		err = backend.MarkReply(err)
	} else {
		err = backend.MarkTimeout(backend.HideAddress(err))
	}
	if !c.written.Load() || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		err = backend.MarkNotExecuted(err)
	}
	return err
}

// ended returns the error for a call whose context has already ended.
func ended(ctx context.Context) error { return backend.MarkNotExecuted(ctx.Err()) }

// isReply reports whether err is a server's answer to a command.
//
// It does not look into joined errors. A Sentinel client joins the answers of the sentinels
// to the error of a dial, and they are no answer to the command. A null reply is one of
// them: it means that a sentinel does not know the master.
func isReply(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if _, ok := err.(redis.Error); ok {
			return true
		}
	}
	return false
}

// isNil reports whether err is the driver's form of a null reply to a command. Like
// isReply, it does not look into joined errors.
func isNil(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if err == redis.Nil {
			return true
		}
	}
	return false
}

// isNoScript reports whether the server does not know the hash of a script.
func isNoScript(err error) bool {
	return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT")
}

// isRedirection reports whether a server of a Cluster says that another one is
// responsible.
func isRedirection(err error) bool {
	if err == nil {
		return false
	}
	if _, moved := redis.IsMovedError(err); moved {
		return true
	}
	if _, ask := redis.IsAskError(err); ask {
		return true
	}
	return redis.IsReadOnlyError(err)
}
