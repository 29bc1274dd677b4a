package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/doctor"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Exit codes of doctor. Its code for wrong usage is that of run, because 2 has another
// meaning here.
const (
	doctorWarnings    = 1
	doctorFailures    = 2
	doctorInterrupted = 130
)

// An examine is one invocation of redlock doctor.
type examine struct {
	nodes         nodeFlags
	settings      doctor.Settings
	verbose, json bool
}

func newDoctor() *cobra.Command {
	e := &examine{}
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Check whether the servers are fit to keep locks",
		Long: `Checks what locks depend on, as far as a client can see it: the connection, whether
two names lead to one server, what a server would lose and evict,
clocks, free room, the rights of the user, and notifications. Last it takes a lock of
its own, hands it over to a waiter and releases it. For each fault it says what to do.

Say how the servers are used: --ttl, --fencing, --quarantine and --prefix.

It needs no more rights than a lock. It says which checks it could not make, but does
not count them as warnings or failures. For all checks the user needs +info +config|get
+time +scan in addition. It sets keys of its own, with "redlock:doctor:" after the
prefix, and removes them. The lock of the probe expires by itself if the command is
killed.

--json prints one object: "worst" is a level, and "findings" is a list of objects with
the texts "check" (a name that stays the same), "server" ("" for all servers together),
"level" (ok, not checked, warning or failure), "what" and "advice" ("" if there is
nothing to do). Releases may add checks and members.`,
		Example: `  redlock doctor                                     the servers in REDLOCK_NODES
  redlock doctor --node r1:6379,r2:6379,r3:6379 --ttl 5m --quarantine 301s
  redlock doctor --json | jq -r '.findings[] | select(.level == "failure") | .what'`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + `
  REDLOCK_QUARANTINE
                  as --quarantine, where that is not given`,
			exitSection: `  0    no fault was found
  1    there are warnings
  2    there are failures
  122  wrong usage
  130  interrupted`,
		},
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE:                  e.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	e.nodes.register(flags, ", and what round trips are compared with")
	flags.Lookup("quiet").Usage = "no output, only the exit code (wrong usage is still explained)"
	durationVar(flags, &e.settings.TTL, "ttl", defaultRunTTL, "the longest TTL of all who use the servers")
	flags.BoolVar(&e.settings.Fencing, "fencing", false, "locks have fencing tokens")
	durationVar(flags, &e.settings.Quarantine, "quarantine", 0, "the quarantine of all who use the servers (default none)")
	flags.BoolVar(&e.settings.NoProbe, "no-probe", false, "take no trial lock")
	flags.BoolVarP(&e.verbose, "verbose", "v", false, "also print what is in order")
	flags.BoolVar(&e.json, "json", false, "print the findings for a program")
	return cmd
}

func (e *examine) run(cmd *cobra.Command, _ []string) error {
	given, err := quarantineGiven(cmd, &e.settings.Quarantine)
	switch {
	case err != nil:
		return err
	case given && e.settings.Quarantine <= 0:
		return usage(cmd, fmt.Sprintf("a quarantine of %v: must be longer than the TTL", e.settings.Quarantine))
	case e.settings.TTL <= 0:
		return usage(cmd, fmt.Sprintf("--ttl is %v: it must be positive", e.settings.TTL))
	case e.nodes.timeout <= 0:
		return usage(cmd, fmt.Sprintf("--node-timeout is %v: it must be positive", e.nodes.timeout))
	}
	conn, err := e.nodes.connect(os.LookupEnv)
	if err != nil {
		return usage(cmd, err.Error())
	}
	defer conn.close(0)
	e.settings.NodeTimeout, e.settings.KeyPrefix = e.nodes.timeout, e.nodes.prefix
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	report, err := doctor.Check(ctx, conn.patients(), e.settings)
	interrupted := ctx.Err() != nil
	cancel() // from now on an interrupt ends the process, even if nobody reads the report
	switch {
	case interrupted:
		return &exitError{code: doctorInterrupted, by: os.Interrupt}
	case err != nil:
		return usage(cmd, strings.TrimPrefix(err.Error(), "doctor: "))
	}
	if !e.nodes.quiet {
		write := printReport
		if e.json {
			write = encodeReport
		}
		if err := write(cmd.OutOrStdout(), report, e.verbose); err != nil {
			return &exitError{code: doctorFailures, text: "doctor: " + err.Error()}
		}
	}
	switch report.Worst() {
	case doctor.Warning:
		return &exitError{code: doctorWarnings}
	case doctor.Failure:
		return &exitError{code: doctorFailures}
	}
	return nil
}

// patients returns the servers for package doctor.
func (c *connection) patients() []doctor.Server {
	var servers []doctor.Server
	for i, client := range c.clients {
		servers = append(servers, doctor.Server{
			Name: c.names[i],
			Node: goredis.New(client, goredis.WithName(c.names[i])),
			Do:   func(ctx context.Context, args ...any) (any, error) { return client.Do(ctx, args...).Result() },
		})
	}
	return servers
}

// encodeReport prints the report for programs.
func encodeReport(out io.Writer, report doctor.Report, _ bool) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Worst    doctor.Level  `json:"worst"`
		Findings doctor.Report `json:"findings"`
	}{report.Worst(), report})
}

// printReport prints the report for people: a line for each server and for each finding
// on it. A reason for which several checks were not made is one line.
func printReport(out io.Writer, report doctor.Report, verbose bool) error {
	var b strings.Builder
	for len(report) > 0 {
		n := 1
		for n < len(report) && report[n].Server == report[0].Server {
			n++
		}
		printServer(&b, report[:n], verbose)
		report = report[n:]
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// printServer prints the findings on one server.
func printServer(b *strings.Builder, findings doctor.Report, verbose bool) {
	name := findings[0].Server
	if name == "" {
		name = "all servers"
	}
	number := map[doctor.Level]int{}
	var lines []doctor.Finding
	for _, f := range findings {
		number[f.Level]++
		merged := false
		for i := range lines {
			if f.Level == doctor.NotChecked && lines[i].Level == f.Level && lines[i].What == f.What {
				lines[i].Check += ", " + f.Check
				merged = true
			}
		}
		if !merged {
			lines = append(lines, f)
		}
	}
	var sums []string
	for level := doctor.Failure; level >= doctor.OK; level-- {
		if n := number[level]; n > 0 {
			noun := level.String()
			if n > 1 && level >= doctor.Warning {
				noun += "s"
			}
			sums = append(sums, fmt.Sprintf("%d %s", n, noun))
		}
	}
	fmt.Fprintf(b, "%s: %s\n", text.Escape(name), strings.Join(sums, ", "))
	for _, f := range lines {
		if f.Level == doctor.OK && !verbose {
			continue
		}
		line := f.Check + ": " + f.What
		if f.Advice != "" {
			line += ". " + f.Advice + "."
		}
		fmt.Fprintf(b, "  %-11s  %s\n", f.Level, text.Escape(line))
	}
}
