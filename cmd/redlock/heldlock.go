package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// tokenVariable has the handover for unlock and extend.
const tokenVariable = "REDLOCK_TOKEN"

const tokenEnvironment = "  " + tokenVariable + `   the handover, if there is no argument
` + nodesEnvironment

// longestToken limits how much is read from stdin.
const longestToken = 1 << 20

// A heldLock is one invocation of redlock unlock or extend: a lock that another process
// has taken.
type heldLock struct {
	nodes    nodeFlags
	stderr   io.Writer
	handover redlock.Handover
	conn     *connection
	last     redlock.Report // of the release
}

// read takes the handover from the argument, from stdin, or from the environment.
func (h *heldLock) read(cmd *cobra.Command, args []string) error {
	const what = `what "redlock lock" has printed`
	var value, from string
	switch {
	case len(args) > 1:
		return usage(cmd, fmt.Sprintf("%s takes one handover, %s, but there are %d arguments", cmd.Name(), what, len(args)))
	case len(args) == 1 && args[0] == "-":
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), longestToken)).ReadString('\n')
		if err != nil && err != io.EOF {
			return usage(cmd, fmt.Sprintf("could not read the handover from stdin: %v", err))
		}
		value, from = line, "stdin"
	case len(args) == 1:
		value, from = args[0], "the argument"
	default:
		value, from = os.Getenv(tokenVariable), tokenVariable
		if value == "" {
			return usage(cmd, fmt.Sprintf("the handover is missing, %s: in %s, on stdin with -, or as an argument, which other users can see", what, tokenVariable))
		}
	}
	// The value may be a secret that is only damaged, so no message shows it.
	if err := h.handover.UnmarshalText([]byte(strings.TrimSpace(value))); err != nil {
		said := fmt.Sprintf("%s is not %s (%s)", from, what, reason(err))
		if cmd.Name() == "unlock" && len(args) > 0 {
			said += "; with redlock-py's key it is: redlock unlock NAME KEY"
		}
		return usage(cmd, said)
	}
	if key := h.handover.Key(); !strings.HasPrefix(key, h.nodes.prefix) {
		return usage(cmd, fmt.Sprintf("the lock has the key %s, which does not begin with --prefix %s: leave --prefix out, because the handover has the whole key",
			text.Quote(key), text.Quote(h.nodes.prefix)))
	}
	return nil
}

// connect makes the Locker, without any I/O.
func (h *heldLock) connect(cmd *cobra.Command, opts ...redlock.Option) (err error) {
	h.stderr = cmd.ErrOrStderr()
	hooks := redlock.Hooks{Unlocked: func(_ context.Context, e redlock.Event) { h.last = e.Report }}
	h.conn, err = h.nodes.connect(os.LookupEnv, append(opts, redlock.WithNodeTimeout(h.nodes.timeout), redlock.WithHooks(hooks))...)
	if err != nil {
		return usage(cmd, err.Error())
	}
	return nil
}

// end says what there is to say, and returns what ends the tool with that exit code.
func (h *heldLock) end(code int, said string) error {
	if said != "" && !h.nodes.quiet {
		printLine(h.stderr, said)
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// release deletes the lock, and ends the connection. It returns the exit code, and why the
// lock is not gone from all servers, or "".
func (h *heldLock) release() (code int, said string) {
	name := text.Quote(h.handover.Key())
	err := h.conn.locker.Release(context.Background(), h.handover)
	patience, missing := answers(h.last)
	clean := h.conn.close(patience)
	switch {
	case errors.Is(err, redlock.ErrNotHeld):
		return exitFailed, h.notHeld(err)
	case errors.Is(err, redlock.ErrUnavailable):
		return exitServers, fmt.Sprintf("could not unlock %s, which then ends by itself when its TTL is over: %s", name, h.nodes.reason(err))
	case err != nil: // it was rejected before any I/O
		return exitUsage, reason(err)
	case !clean:
		return exitOK, fmt.Sprintf("%s, where what is left of the lock %s ends by itself when its TTL is over", unanswered(missing), name)
	}
	return exitOK, ""
}

// notHeld says that the servers do not have the lock.
func (h *heldLock) notHeld(err error) string {
	who := "the server does not have it"
	var quorum *redlock.QuorumError
	if errors.As(err, &quorum) && len(quorum.Last()) > 1 {
		last := quorum.Last()
		who = fmt.Sprintf("%d of %d servers do not have it", last.Count(redlock.NotHeld)+last.Count(redlock.Taken), len(last))
	}
	return fmt.Sprintf("the lock %s is not held with this key: %s, because its TTL was over, it was released or deleted, a server lost its data, or it was taken on other servers; "+
		"others may have it by now", text.Quote(h.handover.Key()), who)
}
