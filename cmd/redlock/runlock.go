package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// acquire takes the lock. Its error ends the tool.
func (r *run) acquire() (*redlock.Lock, error) {
	type outcome struct {
		lock *redlock.Lock
		err  error
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !r.wait.forever && r.wait.d > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.wait.d)
		defer cancel()
	}
	start := time.Now()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		if r.wait.once() {
			o.lock, o.err = r.conn.locker.TryLock(ctx, r.name)
		} else {
			o.lock, o.err = r.conn.locker.Lock(ctx, r.name)
		}
		done <- o
	}()

	notice := time.NewTimer(quietWait)
	defer notice.Stop()
	noticed := false
	var by os.Signal
	for {
		select {
		case <-notice.C:
			if r.wait.once() {
				continue
			}
			var lock *redlock.Lock
			if noticed, lock = r.tellWait(ctx); lock == nil {
				continue
			}
			cancel()
			if o := <-done; o.err == nil { // it was faster, and the attempt's lock is over
				_ = lock.Unlock(context.Background())
				lock = o.lock
			}
			return lock, nil
		case sig := <-r.signals:
			if _, ends := child.Ends(sig); ends && by == nil {
				by = sig
				cancel()
			}
		case o := <-done:
			switch {
			case by != nil:
				if o.err == nil {
					_ = o.lock.Unlock(context.Background())
				}
				code, _ := child.Ends(by)
				return nil, r.end(code, "%v: gave up waiting for the lock %s", by, text.Quote(r.name))
			case o.err != nil:
				return nil, r.notLocked(o.err)
			}
			if noticed {
				r.say("got the lock %s after %s", text.Quote(r.name), round(time.Since(start)))
			}
			return o.lock, nil
		}
	}
}

// tellWait says what the tool waits for, if it can find out. If nobody holds the lock and
// it still cannot be acquired, tellWait makes an attempt of its own to find out why. If
// that succeeds, it returns the lock.
func (r *run) tellWait(ctx context.Context) (told bool, lock *redlock.Lock) {
	status, err := r.conn.locker.Inspect(ctx, r.name)
	if err != nil {
		return false, nil
	}
	name := text.Quote(r.name)
	switch status.State {
	case redlock.StateUnknown:
		t := trouble{size: len(status.Nodes), need: len(status.Nodes)/2 + 1}
		for _, n := range status.Nodes {
			if n.Err != nil {
				t.add(n.Node, complain(n.Err, 0))
			}
		}
		r.say("cannot get the lock %s, trying for up to %s: %s", name, round(r.patience(r.ttl)), t)
	case redlock.StateHeld:
		r.say("waiting for the lock %s, held by %s%s", name, holder(status), r.until())
	default:
		lock, err := r.conn.locker.TryLock(ctx, r.name)
		switch {
		case err == nil:
			return false, lock
		case errors.Is(err, redlock.ErrTaken):
			r.say("waiting for the lock %s, which others take or wait for%s", name, r.until())
		case ctx.Err() != nil:
			return false, nil
		case quarantined(err):
			r.say("cannot get the lock %s yet, waiting%s: %s", name, strings.TrimPrefix(r.until(), ","), reason(err))
		default:
			r.say("cannot get the lock %s, trying for up to %s: %s", name, round(r.patience(r.ttl)), reason(err))
		}
	}
	return true, nil
}

// quarantined reports whether err is from an attempt that failed because of a quarantine.
// The tool waits for the end of a quarantine.
func quarantined(err error) bool {
	var quorum *redlock.QuorumError
	return errors.As(err, &quorum) && quorum.Last().Count(redlock.Quarantined) > 0
}

// patience returns how long the tool will wait for something that can take as long as d.
func (r *run) patience(d time.Duration) time.Duration {
	if r.wait.forever {
		return d
	}
	return min(d, r.wait.d)
}

func (r *run) until() string {
	if r.wait.forever {
		return ""
	}
	return ", for up to " + round(r.wait.d)
}

// holder returns the name of the lock's holder.
func holder(s redlock.Status) string {
	if s.Owner != "" {
		return text.Quote(s.Owner)
	}
	return "somebody without a label"
}

// notLocked explains why there is no lock.
func (r *run) notLocked(err error) error {
	var quorum *redlock.QuorumError
	if errors.As(err, &quorum) && len(quorum.Rounds) > 0 {
		r.last = quorum.Rounds[len(quorum.Rounds)-1]
	}
	switch {
	case errors.Is(err, redlock.ErrTaken):
		r.silent = true
		said := fmt.Sprintf("the lock %s is taken", text.Quote(r.name))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s, err := r.conn.locker.Inspect(ctx, r.name); err == nil && s.State == redlock.StateHeld {
			said += ", by " + holder(s)
		}
		if !r.wait.once() {
			said += fmt.Sprintf("; waited for %s", round(r.wait.d))
		}
		return r.end(runTaken, "%s", said)
	case errors.Is(err, redlock.ErrUnavailable):
		return r.end(runServers, "no lock %s: %s", text.Quote(r.name), reason(err))
	}
	return r.end(runServers, "no lock %s: %s", text.Quote(r.name), strings.TrimPrefix(err.Error(), "redlock: "))
}
