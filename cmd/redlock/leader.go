package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/internal/text"
)

// leaderNobody is the exit code of leader if nobody leads.
const leaderNobody = 3

func newLeader() *cobra.Command {
	var nodes nodeFlags
	cmd := &cobra.Command{
		Use:   "leader [flags] NAME",
		Short: "Tell who leads",
		Long: `Prints which machine leads NAME ("redlock campaign", or package election): its label, or
# and its fingerprint if it has no label. The leader may have changed by the time you
read this. "redlock status NAME" shows the candidates too, and what each server says.`,
		Example: `  redlock leader scheduler                       prints the leader, as in web2:4711
  redlock leader --quiet scheduler; [ $? -ne 3 ] || echo "nobody leads"`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  somebody leads
  1  it is unknown, because too few servers answer; stderr says why
  2  wrong usage
  3  nobody leads`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			const form = "as in: redlock leader NAME"
			if len(args) != 1 {
				return usage(cmd, fmt.Sprintf("leader takes one name, but was given %d arguments, %s", len(args), form))
			}
			if err := checkName(cmd, nodes.prefix, args[0], form); err != nil {
				return err
			}
			conn, err := nodes.observer()
			if err != nil {
				return usage(cmd, err.Error())
			}
			defer conn.close(0)
			return tellWhoLeads(cmd.OutOrStdout(), conn, args[0], nodes.quiet)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	nodes.register(flags, "")
	flags.Lookup("quiet").Usage = "no output, only the exit code (wrong usage is still explained)"
	return cmd
}

// tellWhoLeads prints who leads, unless quiet.
func tellWhoLeads(out io.Writer, conn *connection, name string, quiet bool) error {
	end := func(code int, said string) error {
		if quiet {
			said = ""
		}
		return &exitError{code: code, text: said}
	}
	leader, err := election.Current(context.Background(), conn.locker, name)
	if err != nil {
		// Inspect again for an error of few words.
		status, again := conn.locker.Inspect(context.Background(), name)
		if again != nil {
			return end(exitFailed, "leader: "+reason(err))
		}
		if trouble := statusTrouble(status); len(trouble.servers) > 0 {
			return end(exitFailed, fmt.Sprintf("it is unknown who leads %s: %s", text.Quote(name), trouble))
		}
		return end(exitFailed, "leader: "+reason(err)) // the servers answer again
	}
	if leader.Fingerprint == "" {
		return end(leaderNobody, "nobody leads "+text.Quote(name))
	}
	if quiet {
		return nil
	}
	if _, err := io.WriteString(out, cmp.Or(text.Name(leader.Owner), "#"+leader.Fingerprint)+"\n"); err != nil {
		return end(exitFailed, "leader: cannot write: "+err.Error())
	}
	return nil
}
