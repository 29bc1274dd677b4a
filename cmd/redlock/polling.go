package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// defaultPause is redlock-py's pause between two attempts.
const defaultPause = 200 * time.Millisecond

// A polling is one invocation of redlock lock with the command line of redlock-py: NAME
// VALIDITY_MS. Scripts parse its output, so it prints what redlock-py prints, and nothing
// else.
type polling struct {
	retries int // after the first attempt; negative: for ever
	pauseMS uint32

	last redlock.Report // of the last attempt
}

var (
	pollingFlags = []string{"retry-count", "retry-delay"}              // of this form of lock only
	ttlFlags     = []string{"ttl", "wait", "fencing", "owner", "json"} // of the other form only
)

func (p *polling) register(flags *pflag.FlagSet) {
	flags.IntVar(&p.retries, "retry-count", 3, "with VALIDITY_MS: make `N` attempts after the first; negative: go on until it has the lock")
	flags.Uint32Var(&p.pauseMS, "retry-delay", uint32(defaultPause.Milliseconds()), "with VALIDITY_MS: pause for `MS` milliseconds between attempts")
}

// acceptNodesFirst makes the root command know the flags for the servers, so that they may
// come before the name of a command: redlock --redis URL --quiet lock. That command parses
// them.
func acceptNodesFirst(root *pflag.FlagSet) {
	new(nodeFlags).register(root, "")
	root.VisitAll(func(f *pflag.Flag) { f.Hidden = true })
}

// twoArguments reports whether a command has the arguments that it has with redlock-py: a
// name and something else. No other form of the command has two.
func twoArguments(cmd *cobra.Command, args []string) bool {
	return len(args) == 2 && cmd.ArgsLenAtDash() <= 0
}

// given returns the first of the flags that is set, or "".
func given(cmd *cobra.Command, flags []string) string {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// execute takes the lock, and prints the key: the token alone.
func (p *polling) execute(cmd *cobra.Command, l *lockCommand, args []string) error {
	if err := p.parse(cmd, l, args); err != nil {
		return err
	}
	defer func() {
		patience, _ := answers(p.last)
		l.conn.close(patience)
	}()
	ctx, cancel := untilSignal()
	defer cancel(nil)
	lock, err := p.poll(ctx, l)
	switch {
	case ctx.Err() != nil:
		if lock != nil {
			_ = lock.Unlock(context.Background())
		}
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	if err := l.deliver(ctx, lock, lock.Report(), lock.Token()); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.bare("error could not print the key, so the lock was released: " + err.Error())
		return &exitError{code: exitServers}
	}
	l.bare("ok")
	return nil
}

// parse checks the arguments, before any I/O.
func (p *polling) parse(cmd *cobra.Command, l *lockCommand, args []string) error {
	const form = "as in: redlock lock NAME 30000"
	if err := checkName(cmd, l.nodes.prefix, args[0], form); err != nil {
		return err
	}
	if flag := given(cmd, ttlFlags); flag != "" {
		return usage(cmd, fmt.Sprintf("--%s goes with a name alone, as in: redlock lock NAME --ttl 30s; "+
			"with a second argument, VALIDITY_MS, this is the command line of redlock-py", flag))
	}
	ms, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || ms <= 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return usage(cmd, fmt.Sprintf("the second argument is VALIDITY_MS, a number of milliseconds, and not %s, %s; --ttl takes a unit, as in: redlock lock NAME --ttl 30s",
			argument(args[1]), form))
	}
	l.name, l.ttl = args[0], time.Duration(ms)*time.Millisecond
	return l.connect(cmd)
}

// poll makes attempts. It says how the last one failed, or how each failed if there is no
// last one.
func (p *polling) poll(ctx context.Context, l *lockCommand) (*redlock.Lock, error) {
	pause := time.Duration(p.pauseMS) * time.Millisecond
	if pause == 0 && p.retries < 0 {
		pause = defaultPause // do not ask for ever without a pause
	}
	for tries := 1; ; tries++ {
		lock, err := l.conn.locker.TryLock(ctx, l.name)
		var answered *redlock.QuorumError
		switch {
		case err == nil, ctx.Err() != nil:
			return lock, err
		case !errors.As(err, &answered): // it was rejected before any I/O
			return nil, &exitError{code: exitUsage, text: reason(err)}
		}
		p.last = answered.Last()
		said, code := "failed", exitFailed
		if !errors.Is(err, redlock.ErrTaken) {
			said, code = "error "+l.nodes.reason(err), exitServers
		}
		last := p.retries >= 0 && tries > p.retries
		if last || p.retries < 0 {
			l.bare(said)
		}
		if last {
			return nil, &exitError{code: code}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// bare prints a line on stderr as redlock-py does.
func (l *lockCommand) bare(line string) { printBare(l.stderr, l.nodes.quiet, line) }

// printBare prints a line on stderr without the name of the tool, unless quiet is true.
func printBare(stderr io.Writer, quiet bool, line string) {
	if !quiet {
		_, _ = fmt.Fprintln(stderr, text.Escape(line))
	}
}

// untilSignal returns a context that ends when a signal comes that ends processes. The
// cause is then the error that ends the tool.
func untilSignal() (context.Context, context.CancelCauseFunc) {
	signals := make(chan os.Signal, 16)
	child.Notify(signals)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				if _, ends := child.Ends(sig); ends {
					cancel(endedBy(sig))
				}
			}
		}
	}()
	return ctx, cancel
}
