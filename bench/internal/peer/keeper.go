package peer

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A Keeper is a client whose held locks extend themselves after a third of their TTL.
type Keeper interface {
	// Keep waits until it has the lock on key, and holds it. ctx must not end before the lock is
	// released.
	Keep(ctx context.Context, key string) (Kept, error)
	Close()
}

// Kept is a lock that extends itself.
type Kept interface {
	Lost() bool
	Release()
}

func newOwnKeeper(open nodes, addrs []string, ttl time.Duration) (Keeper, error) {
	c, err := newOwnClient(open, addrs, redlock.WithTTL(ttl), redlock.WithAutoExtend())
	if err != nil {
		return nil, err
	}
	return ownKeeper{c}, nil
}

type ownKeeper struct{ *ownClient }

func (k ownKeeper) Keep(ctx context.Context, key string) (Kept, error) {
	lock, err := k.locker.Lock(ctx, key)
	if err != nil {
		return nil, err
	}
	return ownKept{lock}, nil
}

type ownKept struct{ *redlock.Lock }

func (k ownKept) Lost() bool { return k.Err() != nil }
func (k ownKept) Release()   { k.Unlock(context.Background()) }

type rueidislockKeeper struct{ *rueidislockClient }

func (k rueidislockKeeper) Keep(ctx context.Context, key string) (Kept, error) {
	held, cancel, err := k.locker.WithContext(ctx, key)
	if err != nil {
		return nil, err
	}
	return &rueidislockKept{held, cancel}, nil
}

type rueidislockKept struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func (k *rueidislockKept) Lost() bool { return k.ctx.Err() != nil }
func (k *rueidislockKept) Release()   { k.cancel() }
