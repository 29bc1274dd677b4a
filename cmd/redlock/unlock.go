package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/redlock"
)

func newUnlock() *cobra.Command {
	h := &heldLock{}
	cmd := &cobra.Command{
		Use:   "unlock [flags] [HANDOVER | -]",
		Short: "Release a lock that redlock lock has taken",
		Long: `Releases the lock that "redlock lock" has taken, on the same servers. It needs the
handover that this has printed: in REDLOCK_TOKEN, on stdin with "-", or as an
argument, which other users of the machine can see. It prints nothing on stdout.

If the lock is not held any more, it says so, because others may have had the lock
while the script was still working.

The command line of redlock-py works too, with the key that its form of "redlock lock"
has printed. It prints "ok", or "Error:" with a reason, on stderr.
  redlock [--redis URL]... [--quiet] unlock NAME KEY`,
		Example: `  redlock unlock                        with the handover in REDLOCK_TOKEN
  redlock unlock - < token
  redlock unlock deploy "$KEY"          as with redlock-py`,
		Annotations: map[string]string{
			environmentSection: tokenEnvironment,
			exitSection: `  0  the lock is released
  1  the lock was not held any more
  2  wrong usage
  3  too few servers work, or they refuse. The lock ends when its TTL is over
redlock-py has 0 instead of 1, and 3 instead of 2 for a bad URL.`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if twoArguments(cmd, args) {
				return h.unlockKey(cmd, args[0], args[1])
			}
			if err := h.read(cmd, args); err != nil {
				return err
			}
			if err := h.connect(cmd, h.anyTTL()); err != nil {
				return err
			}
			return h.end(h.release())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	h.nodes.register(flags, "")
	return cmd
}

// anyTTL returns an option for a Locker that only releases locks. It does not know their
// TTL. This one allows any node timeout.
func (h *heldLock) anyTTL() redlock.Option {
	return redlock.WithTTL(max(redlock.DefaultTTL, 8*h.nodes.timeout))
}

// unlockKey releases the lock called name, with the output of redlock-py.
func (h *heldLock) unlockKey(cmd *cobra.Command, name, key string) error {
	if err := checkName(cmd, h.nodes.prefix, name, "as in: redlock unlock NAME KEY"); err != nil {
		return err
	}
	if key == "" {
		return usage(cmd, `the key is empty: it is what "redlock lock NAME VALIDITY_MS" has printed`)
	}
	if err := h.handover.UnmarshalText([]byte(key)); err == nil {
		return usage(cmd, "the second argument is a handover, which stands alone: redlock unlock HANDOVER")
	}
	h.handover = redlock.NewHandover(h.nodes.prefix+name, key, 0)
	if err := h.connect(cmd, h.anyTTL()); err != nil {
		return err
	}
	code, said := h.release()
	switch {
	case code == exitOK:
		printBare(h.stderr, h.nodes.quiet, "ok")
		return nil
	case code == exitUsage:
		return usage(cmd, said)
	case code == exitFailed && strings.HasPrefix(key, "b'"):
		said += ". redlock-py prints the key as b'KEY' with Python 3: take what is between the quotes"
	}
	printBare(h.stderr, h.nodes.quiet, "Error: "+said)
	return &exitError{code: code}
}
