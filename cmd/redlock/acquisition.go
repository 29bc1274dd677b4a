package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// An acquisition is how the commands run and lock take a lock: they wait for it, say what
// for, and explain why there is none.
type acquisition struct {
	nodes      nodeFlags
	wait       patience
	ttl        time.Duration
	minHold    time.Duration // 0: none
	owner      string
	fencing    bool
	quarantine time.Duration

	name    string
	also    []string // names of further locks
	permits int      // 0: a lock; else one of so many permits
	shared  bool     // together with others that share the lock
	leads   bool     // the lock is a leadership
	codes   exitCodes
	stderr  io.Writer

	conn      *connection
	semaphore *redlock.Semaphore // nil: there are no permits
	around    held               // locks held by the runs around this one
	locks     []string           // identify its locks, in the order of names
	awaited   string             // the key for which it waits, if that is known; guarded by mu
	got       bool               // it has said that it has the lock
	signals   chan os.Signal

	mu      sync.Mutex     // guards last while hooks run
	last    redlock.Report // of the last release or attempt; close reports servers without an answer in it
	lastErr error          // of the last release
	silent  bool           // there may be such servers, and nothing was said about them
}

// exitCodes are the exit codes of a command that takes a lock and gets none.
type exitCodes struct {
	taken   int // somebody else has it
	usage   int // it would wait for itself
	servers int // too few servers work
}

// connect makes the Locker, without any I/O. opts are in addition to those that follow
// from the acquisition.
func (a *acquisition) connect(cmd *cobra.Command, opts ...redlock.Option) error {
	if !cmd.Flags().Changed("node-timeout") {
		a.nodes.timeout = min(a.nodes.timeout, a.ttl/8)
	}
	opts = append(opts, redlock.WithHooks(redlock.Hooks{Waiting: a.waits}), redlock.WithTTL(a.ttl), redlock.WithNodeTimeout(a.nodes.timeout), redlock.WithOwner(a.owner))
	if a.fencing {
		opts = append(opts, redlock.WithFencing())
	}
	quarantine, err := quarantineOption(cmd, a.quarantine)
	if err != nil {
		return err
	}
	if a.conn, err = a.nodes.connect(os.LookupEnv, append(opts, quarantine...)...); err != nil {
		return usage(cmd, err.Error())
	}
	a.around = parseHeld(os.Getenv(heldVariable))
	if a.permits > 0 {
		a.semaphore = a.conn.locker.Semaphore(a.name, a.permits)
	}
	for _, name := range a.names() {
		key := a.nodes.prefix + name
		if a.permits > 0 {
			key, _ = proto.PermitsKey(key)
		}
		a.locks = append(a.locks, lockHash(key, a.conn.servers()))
	}
	return nil
}

// names returns the names of all locks, the first one first.
func (a *acquisition) names() []string { return append([]string{a.name}, a.also...) }

// one returns the lock with that name in words, the permit or the leadership.
func (a *acquisition) one(name string) string {
	switch {
	case a.permits > 0:
		return "permit of " + text.Quote(a.name)
	case a.leads:
		return "leadership of " + text.Quote(a.name)
	}
	return "lock " + text.Quote(name)
}

// what returns the lock in words, the locks, or the permit.
func (a *acquisition) what() string {
	if len(a.also) == 0 {
		return a.one(a.name)
	}
	var names []string
	for _, name := range a.names() {
		names = append(names, text.Quote(name))
	}
	return "locks " + strings.Join(names, ", ")
}

// waits is the hook that is told for which lock the tool waits.
func (a *acquisition) waits(_ context.Context, e redlock.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited = strings.TrimPrefix(e.Key, a.nodes.prefix)
}

// missing returns the name of the lock for which the tool waits, as far as that is known.
func (a *acquisition) missing() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return cmp.Or(a.awaited, a.name)
}

// check warns of a number of servers that does not help, and fails if the command would
// wait for itself.
func (a *acquisition) check() error {
	if n := len(a.conn.names); n%2 == 0 {
		a.say("%d servers tolerate no more failures than %d: use an odd number of servers", n, n-1)
	}
	return a.nested()
}

// say prints a message for the user.
func (a *acquisition) say(format string, args ...any) {
	if !a.nodes.quiet {
		printLine(a.stderr, fmt.Sprintf(format, args...))
	}
}

// end returns the error that ends the tool with this code and message.
func (a *acquisition) end(code int, format string, args ...any) error {
	a.say(format, args...)
	return &exitError{code: code}
}

// acquire takes the lock, or all locks. Its error ends the tool. From then on the caller handles signals.
func (a *acquisition) acquire() (tenure, error) {
	a.signals = make(chan os.Signal, 16)
	child.Notify(a.signals)
	lock, err := a.attempt()
	for err == nil && lock.Err() != nil { // this process was stopped for a long time
		a.abandon(lock)
		lock, err = a.attempt()
	}
	if err != nil {
		return nil, err
	}
	if by := ending(a.signals); by != nil { // it came together with the lock
		a.abandon(lock)
		return nil, a.gaveUp(by)
	}
	return lock, nil
}

// attempt is acquire, but the lock may be over.
func (a *acquisition) attempt() (tenure, error) {
	type outcome struct {
		lock tenure
		err  error
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !a.wait.forever && a.wait.d > 0 {
		ctx, cancel = context.WithTimeout(ctx, a.wait.d)
		defer cancel()
	}
	start := time.Now()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		o.lock, o.err = a.take(ctx, a.wait.once())
		done <- o
	}()

	notice := time.NewTimer(quietWait)
	defer notice.Stop()
	noticed := false
	var by os.Signal
	for {
		select {
		case <-notice.C:
			if a.wait.once() || by != nil {
				continue
			}
			var lock tenure
			if by = a.ask(ctx, func(ctx context.Context) { noticed, lock = a.tellWait(ctx) }); by != nil {
				cancel()
			}
			if lock == nil {
				continue
			}
			cancel()
			if o := <-done; o.err == nil { // it was faster, and the attempt's lock is over
				a.abandon(lock)
				lock = o.lock
			}
			if by != nil {
				a.abandon(lock)
				return nil, a.gaveUp(by)
			}
			return lock, nil
		case sig := <-a.signals:
			if _, ends := child.Ends(sig); ends && by == nil {
				by = sig
				cancel()
			}
		case o := <-done:
			switch {
			case by != nil:
				if o.err == nil {
					a.abandon(o.lock)
				}
				return nil, a.gaveUp(by)
			case o.err != nil:
				return nil, a.notLocked(o.err)
			}
			if noticed {
				a.say("got the %s after %s", a.what(), round(time.Since(start)))
				a.got = true
			}
			return o.lock, nil
		}
	}
}

// tellWait says what the tool waits for, if it can find out. If nobody holds the lock and
// it still cannot be acquired, tellWait makes an attempt of its own to find out why. If
// that succeeds, it returns the lock.
func (a *acquisition) tellWait(ctx context.Context) (told bool, lock tenure) {
	if a.permits > 0 {
		return a.tellWaitForPermit(ctx)
	}
	missing := a.missing()
	status, err := a.conn.locker.Inspect(ctx, missing)
	if err != nil {
		return false, nil
	}
	switch {
	case status.State == redlock.StateUnknown:
		a.sayUnknown(missing, status)
	case status.State == redlock.StateHeld:
		a.say("waiting for the %s, held by %s%s", a.one(missing), holder(status.Owner), a.until())
	case status.State == redlock.StateShared:
		a.say("waiting for the %s, which is shared%s%s", a.one(missing), sharers(status), a.until())
	case len(a.also) > 0: // an attempt for all locks would find those that the call has already
		lock, err := a.conn.locker.TryLock(ctx, missing)
		if err != nil {
			return a.sayRefused(ctx, missing, err), nil
		}
		a.abandon(single{lock}) // the call takes it
		return false, nil
	default:
		return a.tellAttempt(ctx, missing)
	}
	return true, nil
}

// sayUnknown says that too few servers answer.
func (a *acquisition) sayUnknown(name string, status redlock.Status) {
	a.say("cannot get the %s, trying for up to %s: %s", a.one(name), round(a.patience(a.ttl)), statusTrouble(status))
}

// tellAttempt makes an attempt and says why it fails. If it succeeds, it returns the lock.
func (a *acquisition) tellAttempt(ctx context.Context, name string) (told bool, lock tenure) {
	lock, err := a.take(ctx, true)
	if err == nil {
		return false, lock
	}
	return a.sayRefused(ctx, name, err), nil
}

// sayRefused says why an attempt has failed, and reports whether it has said anything.
func (a *acquisition) sayRefused(ctx context.Context, name string, err error) bool {
	switch {
	case errors.Is(err, redlock.ErrTaken):
		a.say("waiting for the %s, which others take or wait for%s", a.one(name), a.until())
	case ctx.Err() != nil:
		return false
	case quarantined(err):
		a.say("cannot get the %s yet, waiting%s: %s", a.one(name), strings.TrimPrefix(a.until(), ","), a.nodes.reason(err))
	default:
		a.say("cannot get the %s, trying for up to %s: %s", a.one(name), round(a.patience(a.ttl)), a.nodes.reason(err))
	}
	return true
}

// quarantined reports whether err is from an attempt that failed because of a quarantine.
// The tool waits for the end of a quarantine.
func quarantined(err error) bool {
	var quorum *redlock.QuorumError
	return errors.As(err, &quorum) && quorum.Last().Count(redlock.Quarantined) > 0
}

// patience returns how long the tool will wait for something that can take as long as d.
func (a *acquisition) patience(d time.Duration) time.Duration {
	if a.wait.forever {
		return d
	}
	return min(d, a.wait.d)
}

func (a *acquisition) until() string {
	if a.wait.forever {
		return ""
	}
	return ", for up to " + round(a.wait.d)
}

// holder returns the label of a holder in words.
func holder(owner string) string {
	if owner != "" {
		return text.Quote(owner)
	}
	return "somebody without a label"
}

// nested fails if this run would wait for itself, because the lock is held by a run whose
// command waits for this one.
func (a *acquisition) nested() error {
	if a.wait.once() {
		return nil // without waiting, there is no deadlock
	}
	if a.permits > 0 {
		return a.nestedPermit()
	}
	for i, name := range a.names() {
		pid, certain := a.around.around(a.locks[i])
		switch {
		case pid == 0:
			continue
		case certain:
			return a.end(a.codes.usage, `this run would wait for itself: the lock %s is held by the redlock run with process id %d, whose command this is or belongs to; `+
				`take another name, or the lock once only`, text.Quote(name), pid)
		}
		a.say("the lock %s is held by the redlock run with process id %d, which has started this one; if it waits for this one, neither ends", text.Quote(name), pid)
	}
	return nil
}

// close ends the connections, and says what remains until it expires. A quorum of the
// servers has already answered. The others may be a little slower, or hang.
func (a *acquisition) close() {
	patience, missing := answers(a.last)
	if a.conn.close(patience) || !a.silent {
		return
	}
	a.say("%s, where what is left of the %s ends by itself, at the latest after %v", unanswered(missing), a.what(), a.ttl)
}
