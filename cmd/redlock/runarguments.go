package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// parse checks the arguments, before any I/O.
func (r *run) parse(cmd *cobra.Command, args []string) error {
	if err := r.parseCommand(cmd, args, "; --also holds another lock"); err != nil {
		return err
	}
	for _, name := range r.also {
		if err := checkName(cmd, r.nodes.prefix, name, "as in: redlock run --also NAME NAME -- COMMAND"); err != nil {
			return err
		}
	}
	if r.fencing && len(r.also) > 0 {
		return usage(cmd, "--fencing gives the command one token, but with --also each lock has its own: leave one of them out")
	}
	if cmd.Flags().Changed("permits") {
		if err := r.checkPermits(cmd, args[0]); err != nil {
			return err
		}
	}
	if r.shared {
		if err := r.checkShared(cmd); err != nil {
			return err
		}
	}
	if err := r.checkGrace(cmd); err != nil {
		return err
	}
	if cmd.Flags().Changed("min-hold") && r.minHold <= 0 {
		return usage(cmd, fmt.Sprintf("--min-hold is %v: it must be positive", r.minHold))
	}
	if cmd.Flags().Changed("max-hold") && r.maxHold < r.ttl {
		return usage(cmd, fmt.Sprintf("--max-hold is %v: it must be at least as long as --ttl, which is %v", r.maxHold, r.ttl))
	}
	if r.codes.taken < 0 || r.codes.taken > 255 {
		return usage(cmd, fmt.Sprintf("--taken-exit-code is %d: it must be from 0 to 255", r.codes.taken))
	}
	opts := r.options()
	if r.minHold > 0 {
		opts = append(opts, redlock.WithMinHold(r.minHold))
	}
	if r.maxHold > 0 {
		opts = append(opts, redlock.WithMaxHold(r.maxHold))
	}
	return r.connect(cmd, opts...)
}

// parseCommand takes the name and the command from args. several ends the message about
// several names.
func (r *run) parseCommand(cmd *cobra.Command, args []string, several string) error {
	dash := cmd.ArgsLenAtDash()
	form := "as in: redlock " + cmd.Name() + " NAME -- COMMAND"
	switch {
	case len(args) == 0 || dash == 0:
		return usage(cmd, "the name of the lock is missing, "+form)
	case dash < 0 && len(args) > 1:
		name, command := args[0], args[1]
		if mayHoldPassword(name) || mayHoldPassword(command) {
			name, command = "NAME", "COMMAND"
		}
		return usage(cmd, fmt.Sprintf(`"--" is missing between the name of the lock and the command, as in: redlock %s %s -- %s`, cmd.Name(), text.Name(name), text.Name(command)))
	case dash < 0 || dash == len(args):
		return usage(cmd, "the command to run is missing, "+form)
	case dash > 1:
		return usage(cmd, fmt.Sprintf("a lock has one name, but before the -- there are %d: %s%s", dash, arguments(args[:dash]), several))
	}
	r.verb, r.name, r.command = cmd.Name(), args[0], args[1:]
	return checkName(cmd, r.nodes.prefix, r.name, form)
}

// checkGrace checks --grace, and lowers the default if the TTL is short.
func (r *run) checkGrace(cmd *cobra.Command) error {
	switch longest := r.ttl / graceShare; {
	case !cmd.Flags().Changed("grace"):
		r.grace = min(r.grace, longest)
	case r.grace < 0:
		return usage(cmd, fmt.Sprintf("--grace is %v: it cannot be negative", r.grace))
	case r.grace > longest:
		return usage(cmd, fmt.Sprintf("--grace is %v: it can be a third of --ttl at most, so take a --ttl of %v or more", r.grace, graceShare*r.grace))
	}
	return nil
}

// options returns what the Locker needs. It sets the default label.
func (r *run) options() []redlock.Option {
	r.owner = cmp.Or(r.owner, owner())
	return []redlock.Option{
		redlock.WithAutoExtend(),
		redlock.WithHooks(redlock.Hooks{
			Extended: r.extended,
			Unlocked: r.unlocked,
		}),
	}
}
