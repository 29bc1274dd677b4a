package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newEndQuarantine() *cobra.Command {
	var nodes nodeFlags
	cmd := &cobra.Command{
		Use:   "end-quarantine [flags]",
		Short: "End the quarantine of servers that are known to have lost no data",
		Long: `Ends the quarantine of the servers, for everyone who uses it with the same --prefix
("redlock run --quarantine", or WithQuarantine of the library).

A server that is new, was started again, lost its data or took another one's place
may have lost locks that are still held. With a quarantine it locks nothing for some
time, which ends by itself. This command ends it at once. That is safe only when
nobody holds a lock, as on new servers, or nothing was lost, as after a restart with
appendfsync always. Otherwise two can hold one lock.`,
		Example: `  redlock end-quarantine                             the servers in REDLOCK_NODES
  redlock end-quarantine --node r1:6379              one that was started again`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  all servers lock again
  1  some servers could not be told; the others lock again
  2  wrong usage, or a Cluster, which cannot have a quarantine`,
		},
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := nodes.connect(os.LookupEnv)
			if err != nil {
				return usage(cmd, err.Error())
			}
			defer conn.close(0)
			ctx, cancel := context.WithTimeout(context.Background(), nodes.timeout)
			defer cancel()
			report, err := conn.locker.EndQuarantine(ctx)
			switch {
			case err == nil:
				return nil
			case errors.Is(err, errors.ErrUnsupported):
				return usage(cmd, strings.TrimPrefix(err.Error(), "redlock: end quarantine: "))
			case nodes.quiet:
				return &exitError{code: exitFailed}
			}
			why := inTrouble(report, 0).String()
			if report == nil {
				why = reason(err)
			}
			return &exitError{code: exitFailed, text: "end-quarantine: " + why}
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	nodes.register(flags, "")
	return cmd
}
