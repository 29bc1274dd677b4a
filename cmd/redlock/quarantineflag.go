package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/redlock"
)

const quarantineEnvironment = `
  REDLOCK_QUARANTINE
                  as --quarantine, where that is not given`

const quarantineUsage = "let a server that is new or may have lost its data grant no lock for this long, which must be at least a second more than the longest TTL of all who use the server"

// registerQuarantine adds the flag --quarantine.
func registerQuarantine(flags *pflag.FlagSet, d *time.Duration) {
	durationVar(flags, d, "quarantine", 0, quarantineUsage+"; 0 means none (default none)")
}

// quarantineOption returns the option for the quarantine, or none.
func quarantineOption(cmd *cobra.Command, d time.Duration) ([]redlock.Option, error) {
	given, err := quarantineGiven(cmd, &d)
	if err != nil || !given {
		return nil, err
	}
	return []redlock.Option{redlock.WithQuarantine(d)}, nil
}
