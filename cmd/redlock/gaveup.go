package main

import (
	"context"
	"errors"
	"os"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/redlock"
)

// ending returns the first signal that has come and that ends processes, or nil.
func ending(signals <-chan os.Signal) os.Signal {
	for {
		select {
		case sig := <-signals:
			if _, ends := child.Ends(sig); ends {
				return sig
			}
		default:
			return nil
		}
	}
}

// gaveUp returns the error that ends the tool because of a signal that came before it had
// the lock.
func (a *acquisition) gaveUp(by os.Signal) error {
	code, _ := child.Ends(by)
	return a.end(code, "%v: gave up waiting for the %s", by, a.one(a.missing()))
}

// abandon releases a lock under which nothing has run. Its minimum hold does not count, so
// that another machine can run the command.
func (a *acquisition) abandon(lock tenure) {
	err := lock.Unlock(context.Background())
	if a.minHold > 0 { // Unlock has left it on the servers
		for _, name := range lock.Keys() {
			err = errors.Join(err, a.conn.locker.Release(context.Background(), lock.Handover(name)))
		}
	}
	if errors.Is(err, redlock.ErrUnavailable) {
		a.say("could not unlock the %s, which then ends by itself, at the latest after %v: %s", a.what(), max(a.ttl, a.minHold), a.nodes.reason(err))
	}
}
