package main

import (
	"context"
	"errors"
	"os"
	"sync"

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

// ask calls f, which asks the servers. If a signal comes that ends processes, the ctx of f ends,
// so that a server that hangs does not delay the signal. ask returns that signal, or nil.
func (a *acquisition) ask(ctx context.Context, f func(context.Context)) (by os.Signal) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	for {
		select {
		case <-done:
			return by
		case sig := <-a.signals:
			if _, ends := child.Ends(sig); ends && by == nil {
				by = sig
				cancel()
			}
		}
	}
}

// gaveUp returns the error that ends the tool because of a signal. It came before the tool
// had the lock, or together with it.
func (a *acquisition) gaveUp(by os.Signal) error {
	if a.got {
		a.say("%v: unlocked the %s at once", by, a.what())
	} else {
		a.say("%v: gave up waiting for the %s", by, a.one(a.missing()))
	}
	return endedBy(by)
}

// endedBy returns the error that ends the tool because of a signal.
func endedBy(by os.Signal) error {
	code, _ := child.Ends(by)
	return &exitError{code: code, by: by}
}

// abandon releases a lock under which nothing has run. Its minimum hold does not count, so
// that another machine can run the command.
func (a *acquisition) abandon(lock tenure) {
	err := lock.Unlock(context.Background())
	if a.minHold > 0 { // Unlock has left it on the servers
		keys := lock.Keys()
		failures := make([]error, len(keys))
		var releases sync.WaitGroup
		for i, name := range keys {
			releases.Go(func() { failures[i] = a.conn.locker.Release(context.Background(), lock.Handover(name)) })
		}
		releases.Wait()
		err = errors.Join(failures...)
	}
	if errors.Is(err, redlock.ErrUnavailable) {
		a.say("could not unlock the %s, which then ends by itself, at the latest after %v: %s", a.what(), max(a.ttl, a.minHold), a.nodes.reason(err))
	}
}
