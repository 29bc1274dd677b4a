package waiting

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A writer has waited, and got the lock without one of three servers, on which another library has
// it. After its downgrade, a reader gets a quorum that needs that server: the writer's ticket is no
// longer in its queue.
func TestReadersAfterDowngrade(t *testing.T) {
	list := servers.Start(t, servers.Any, 3, servers.WithOutages(), servers.WithoutReuse())
	all := newClients(t, newLog(), 4, addrsOf(list))
	first, writer, readers := all[0], all[1], all[2:]
	for _, c := range all {
		c.warm(t.Context())
	}
	list[2].Do(t, "SET", key, "foreign", "PX", 60_000)
	before, err := first.locker.Lock(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	won := make(chan *redlock.Lock)
	go func() {
		defer close(won)
		lock, err := writer.locker.Lock(t.Context(), key, redlock.WithWait(20*time.Second))
		if err != nil {
			t.Error(err)
			return
		}
		won <- lock
	}()
	for _, s := range list {
		waitQueued(t, s, key, 1)
	}
	unlock(t, before)
	lock := <-won
	if lock == nil {
		return
	}
	waitQueued(t, list[2], key, 1) // it has not left with the lock

	if err := lock.Downgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitQueued(t, list[2], key, 0)
	list[2].Do(t, "DEL", key)
	for deadline := time.Now().Add(5 * time.Second); list[2].Do(t, "GET", key) != "~shared"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not get the lock of the downgraded writer")
		}
		if err := lock.Extend(t.Context(), redlock.DefaultTTL); err != nil {
			t.Fatal(err)
		}
	}
	list[1].Pause(t)
	for _, c := range readers {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		read, err := c.locker.RLock(ctx, key)
		if err != nil {
			t.Fatal("a reader that needs the server that the writer did not have: ", err)
		}
		defer read.Unlock(context.WithoutCancel(ctx))
	}
	list[1].Resume(t)
	unlock(t, lock)
}
