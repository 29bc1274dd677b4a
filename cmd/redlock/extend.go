package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

func newExtend() *cobra.Command {
	e := &extension{}
	cmd := &cobra.Command{
		Use:   "extend [flags] [HANDOVER | -] --ttl DURATION",
		Short: "Make a lock that redlock lock has taken live longer",
		Long: `Makes the lock live for at least --ttl from now on. If it lives longer anyway, it stays
as it is and nothing is written, so a server that is now a replica is not noticed.
The handover that "redlock lock" has printed is in REDLOCK_TOKEN, on stdin with "-", or
an argument, which other users of the machine can see. It stays the same.

If the lock is not held any more, it cannot be extended. What runs under it must stop,
because others may have the lock.

With --json, stdout has one line with a JSON object:
  key          string: the key on the servers
  fence        number: the fencing token, 0 if the lock has none
  owner        string: the label of who has taken the lock
  valid_ms     number: for how many milliseconds the lock is valid from now on
  valid_until  string: when that ends, by the clock of this machine (RFC 3339)`,
		Example: `  redlock extend --ttl 5m               with the handover in REDLOCK_TOKEN
  redlock extend - --ttl 5m < token`,
		Annotations: map[string]string{
			environmentSection: tokenEnvironment + quarantineEnvironment,
			exitSection: `  0  the lock is held for --ttl
  1  the lock is not held any more
  2  wrong usage
  3  too few servers work, or they refuse. The lock is held until its TTL is over, as
     before, and perhaps longer; try again before that. Also if the lock is extended, but
     the result could not be printed`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("ttl") {
				return usage(cmd, "--ttl is missing, which says how long the lock lives from now on, as in: redlock extend --ttl 30s")
			}
			if err := e.read(cmd, args); err != nil {
				return err
			}
			return e.execute(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	e.nodes.register(flags, nodeTimeoutLimit)
	durationVar(flags, &e.ttl, "ttl", 0, "how long the lock lives from now on; must be given (a number without a unit is seconds, here and in all flags that are durations)")
	flags.BoolVar(&e.json, "json", false, "print a JSON object")
	registerQuarantine(flags, &e.quarantine)
	return cmd
}

// An extension is one invocation of redlock extend.
type extension struct {
	heldLock
	ttl        time.Duration
	quarantine time.Duration
	json       bool
	flight     inFlight
}

func (e *extension) execute(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("node-timeout") {
		e.nodes.timeout = min(e.nodes.timeout, e.ttl/8)
	}
	opts, err := quarantineOption(cmd, e.quarantine)
	if err != nil {
		return err
	}
	if err := e.connect(cmd, append([]redlock.Option{redlock.WithTTL(e.ttl)}, opts...)...); err != nil {
		return err
	}
	defer e.conn.close(0)
	e.flight.follow(e.conn)
	lock, err := e.conn.locker.Resume(context.Background(), e.handover)
	switch {
	case errors.Is(err, redlock.ErrNotHeld):
		return e.end(exitFailed, e.notHeld(err))
	case errors.Is(err, redlock.ErrUnavailable):
		return e.end(exitServers, fmt.Sprintf("could not extend the lock %s, which ends when its TTL is over unless another attempt succeeds: %s",
			text.Quote(e.handover.Key()), e.nodes.reason(err)))
	case err != nil: // it was rejected before any I/O
		return usage(cmd, reason(err))
	}
	e.flight.settle(lock.Report())
	if !e.json {
		return nil
	}
	line, err := lockJSON(lock.Handover(), lock.Until(), false)
	if err == nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
	}
	if err != nil {
		return e.end(exitServers, fmt.Sprintf("the lock %s is extended, but the result could not be printed: %v", text.Quote(e.handover.Key()), err))
	}
	return nil
}
