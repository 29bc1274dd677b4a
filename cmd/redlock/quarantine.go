package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// quarantineGiven reports whether --quarantine or REDLOCK_QUARANTINE gives a quarantine; 0 means
// none. It sets d to the value of the variable if that counts.
func quarantineGiven(cmd *cobra.Command, d *time.Duration) (bool, error) {
	value := os.Getenv("REDLOCK_QUARANTINE")
	if cmd.Flags().Changed("quarantine") || value == "" {
		return cmd.Flags().Changed("quarantine") && *d != 0, nil
	}
	parsed, err := parseDuration(value)
	if err != nil {
		return false, usage(cmd, fmt.Sprintf("REDLOCK_QUARANTINE is %s, and %v", argument(value), err))
	}
	*d = parsed
	return parsed != 0, nil
}
