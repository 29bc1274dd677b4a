package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newInit() *cobra.Command {
	var nodes nodeFlags
	cmd := &cobra.Command{
		Use:   "init [flags]",
		Short: "End the quarantine of servers that are known to have lost no data",
		Long: `Ends the quarantine of the servers for everyone that uses one with the same --prefix
("redlock run --quarantine", or WithQuarantine of the library).

A server that is new, was started again, lost its data or took another one's place
may have lost locks that are still held. With a quarantine it locks nothing for some
time. This command ends that time at once. Use it when you set up servers, or when
you know that nobody holds a lock or that nothing was lost, for example after a
restart with appendfsync always.`,
		Example: `  redlock init                                       the servers in REDLOCK_NODES
  redlock init --node r1:6379                        one that was started again`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  all servers lock again
  1  some servers could not be told; the others lock again
  2  wrong usage`,
		},
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := nodes.connect(os.Getenv)
			if err != nil {
				return usage(cmd, err.Error())
			}
			defer conn.close(0)
			err = conn.locker.Init(context.Background())
			switch {
			case err == nil:
				return nil
			case nodes.quiet:
				return &exitError{code: exitFailed}
			}
			return &exitError{code: exitFailed, text: "init: " + notTold(len(conn.names), err).String()}
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	nodes.register(flags)
	return cmd
}

// notTold returns what is wrong with the servers, of so many, that could not be told
// that they are well, according to the error of Init.
func notTold(size int, err error) trouble {
	t := trouble{size: size}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		why := errors.Unwrap(e)
		server := strings.TrimSuffix(strings.TrimPrefix(e.Error(), "redlock: init: "), ": "+why.Error())
		t.add(server, complain(why, 0))
	}
	return t
}
