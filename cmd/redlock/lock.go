package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// exitServers is an exit code of lock, unlock and extend, in addition to those of all
// commands. All of them are the codes of redlock-py, and 120 less than those of run.
const exitServers = 3 // too few servers work

// nodeTimeoutLimit ends the description of --node-timeout.
const nodeTimeoutLimit = "; at most an eighth of the TTL, and less by default if that is short"

func newLock() *cobra.Command {
	l := &lockCommand{acquisition: acquisition{
		wait: patience{forever: true}, codes: exitCodes{taken: exitFailed, usage: exitUsage, servers: exitServers},
	}}
	var p polling
	cmd := &cobra.Command{
		Use:   "lock [flags] NAME --ttl DURATION",
		Short: "Take a lock in a script, and print what unlock needs",
		Long: `Takes the lock called NAME, waiting if it is taken, and prints the handover on stdout:
one word, which "redlock unlock" and "redlock extend" need. Nothing else is printed
there. Do not close stdout (>&-): the handover would be lost, with exit code 0. Keep the
handover secret, because anyone who has it can release the lock: other users can see the
arguments of a command, but not its environment.

Nobody extends the lock, so it ends after --ttl even if the script still works.
"redlock extend" makes it live longer. "redlock run" is safer where one command does
all the work: it extends the lock, and stops the command if the lock is lost.

With --json, stdout has one line with a JSON object instead:
  key          string: the key on the servers, which is --prefix and NAME
  handover     string: the handover
  fence        number: the fencing token, 0 without --fencing
  owner        string: the label
  valid_ms     number: for how many milliseconds the lock is valid from now on
  valid_until  string: when that ends, by the clock of this machine (RFC 3339)

The command line of redlock-py works too. It prints the bare key on stdout, and "ok",
"failed" or "error" with a reason on stderr. It makes an attempt, and N more after a
pause of MS each; if N is negative, it goes on until it has the lock, with a line on
stderr for each attempt that failed. Others that wait in the queue, as --wait does,
come first.
  redlock [--redis URL]... [--quiet] lock [--retry-count N] [--retry-delay MS]
                                          NAME VALIDITY_MS`,
		Example: `  REDLOCK_TOKEN=$(redlock lock deploy --ttl 5m --wait 30s) || exit
  export REDLOCK_TOKEN
  trap 'redlock unlock' EXIT
  trap 'exit 1' HUP INT TERM
  ./deploy.sh production

  (umask 077; redlock lock report --ttl 5m --fencing > token)
  cut -d. -f4 token                           the fencing token
  redlock unlock - < token

  KEY=$(redlock lock deploy 300000) || exit   as with redlock-py, for 300000 ms
  redlock unlock deploy "$KEY"`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + quarantineEnvironment,
			exitSection: `  0  the lock is held until its TTL is over, and stdout has what unlock needs
  1  the lock is taken, and was so for as long as --wait says
  2  wrong usage, or it would wait for itself
  3  too few servers work, or they refuse; or nothing could be written to stdout
     before the TTL was over. The lock is not held
  128 + N  signal N came before stdout had what unlock needs. The lock is not held
"redlock run" has 121, 122 and 123 instead of 1, 2 and 3, because it passes on the exit
code of its command. redlock-py has other codes for some faults: 1 instead of 3 if all
servers are down, 3 instead of 0 if a minority is, and 3 instead of 2 for a bad URL.`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.stdout, l.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if twoArguments(cmd, args) {
				return p.execute(cmd, l, args)
			}
			if err := l.parse(cmd, args); err != nil {
				return err
			}
			return l.execute()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	l.nodes.register(flags, nodeTimeoutLimit)
	durationVar(flags, &l.ttl, "ttl", 0, "how long the lock lives unless it is extended; must be given (a number without a unit is seconds, here and in all flags that are durations)")
	flags.VarP(&l.wait, "wait", "w", `how long to wait while the lock is taken: "forever", 0 to try once, or a time such as 90s`)
	flags.BoolVar(&l.fencing, "fencing", false, "give the lock a fencing token: a number for what the script writes to, higher for each later lock of NAME")
	flags.StringVar(&l.owner, "owner", "", "`label` by which others see who has the lock (default the host name and the process id of the script)")
	flags.BoolVar(&l.json, "json", false, "print a JSON object instead of the handover")
	registerQuarantine(flags, &l.quarantine)
	p.register(flags)
	return cmd
}

// A lockCommand is one invocation of redlock lock.
type lockCommand struct {
	acquisition
	json   bool
	stdout io.Writer
	flight inFlight
}

// parse checks the arguments, before any I/O.
func (l *lockCommand) parse(cmd *cobra.Command, args []string) error {
	const form = "as in: redlock lock NAME --ttl 30s"
	switch {
	case len(args) == 0:
		return usage(cmd, "the name of the lock is missing, "+form)
	case len(args) > 1:
		return usage(cmd, fmt.Sprintf(`a lock has one name, but there are %d arguments: %s; "redlock run" runs a command under a lock`, len(args), arguments(args)))
	case !cmd.Flags().Changed("ttl"):
		return usage(cmd, "--ttl is missing, which says how long the lock lives. Nobody extends it, so it must live for as long as the script needs it, "+form)
	}
	if flag := given(cmd, pollingFlags); flag != "" {
		return usage(cmd, "--"+flag+" goes with redlock lock NAME VALIDITY_MS, the command line of redlock-py. With --ttl, --wait says how long to wait")
	}
	if err := checkName(cmd, l.nodes.prefix, args[0], form); err != nil {
		return err
	}
	l.name = args[0]
	if l.owner == "" {
		l.owner = scriptOwner()
	}
	return l.connect(cmd)
}

// scriptOwner returns the default label. It has the process id of the script, because this
// process ends at once.
func scriptOwner() string {
	return strings.TrimSuffix(owner(), strconv.Itoa(os.Getpid())) + strconv.Itoa(os.Getppid())
}

// checkName rejects what is no name of a lock.
func checkName(cmd *cobra.Command, prefix, name, form string) error {
	if why := notALock(prefix, name); why != "" {
		return usage(cmd, why+"; "+form)
	}
	return nil
}

// connect makes the Locker, without any I/O.
func (l *lockCommand) connect(cmd *cobra.Command) error {
	if err := l.acquisition.connect(cmd); err != nil {
		return err
	}
	l.flight.follow(l.conn)
	return nil
}

func (l *lockCommand) execute() error {
	defer l.close()
	if err := l.check(); err != nil {
		return err
	}
	lock, err := l.acquire()
	if err != nil {
		return err
	}
	line, err := lock.Handover(l.name).MarshalText()
	if l.json {
		line, err = lockJSON(lock.Handover(l.name), lock.Until(), true)
	}
	var by os.Signal
	if err == nil {
		by = l.ask(context.Background(), func(ctx context.Context) { err = l.deliver(ctx, lock, lock.Report(l.name), string(line)) })
	}
	switch {
	case err != nil && by != nil:
		l.got = true
		return l.gaveUp(by)
	case err != nil:
		return l.end(exitServers, "could not print what unlock needs, so the lock %s was released: %v", text.Quote(l.name), err)
	}
	return nil
}

// deliver prints the line without which nobody can release the lock. If that fails, or if ctx
// or the lock ends before, deliver releases it.
func (l *lockCommand) deliver(ctx context.Context, lock printable, report redlock.Report, line string) error {
	err := lock.Err()
	if err == nil {
		err = writeUntil(lock.Context(ctx), l.stdout, line+"\n")
	}
	if err == nil {
		err = lock.Err()
	}
	if err != nil {
		_ = lock.Unlock(context.Background())
		if errors.Is(err, redlock.ErrNotHeld) {
			return errNobodyRead
		}
		return err
	}
	l.flight.settle(report)
	return nil
}

var errNobodyRead = errors.New("its TTL was over before anybody read it")

// A printable is a [redlock.Lock] or a [tenure].
type printable interface {
	Context(parent context.Context) context.Context
	Err() error
	Unlock(ctx context.Context) error
}
