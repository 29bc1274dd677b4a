package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// againPause is how long --again waits before it campaigns again, so that a command that
// ends at once does not start all the time.
const againPause = time.Second

func newCampaign() *cobra.Command {
	// The code of a lock that is taken is that of no campaign.
	c := &campaign{run: run{acquisition: acquisition{
		leads: true, wait: patience{forever: true}, codes: exitCodes{taken: -1, usage: runUsage, servers: runServers},
	}}}
	cmd := &cobra.Command{
		Use:   "campaign [flags] NAME -- COMMAND [ARGUMENT...]",
		Short: "Run a command while this machine leads",
		Long: `Makes this machine a candidate for the leadership called NAME, and runs the command while
it leads. Start it on several machines: one of them leads at a time. The others wait for
as long as that takes, even while the servers are down, and lead in the order in which
they came.

If the leadership is lost, the command must stop, because another machine may lead.
redlock sends SIGTERM to the command and to all that it has started, and SIGKILL after
the grace period. If the machine that leads dies, another one leads after the TTL.

When the command ends, the next candidate leads at once, and redlock ends with the exit
code of the command. redlock passes signals on to the command, and keeps the leadership
until the command has ended.

With --again, redlock does not end then. It waits as a candidate again, behind the
others, and runs the command again when it leads. To end it, send SIGTERM, SIGINT or
SIGQUIT: they end the command first, and then redlock.

The leadership is the lock called NAME with a fencing token, as in package election. So
"redlock status" and "redlock break" work with it, and "redlock leader" tells who leads.
What "redlock run --help" says about processes, signals and Ctrl-Z is true here too.`,
		Example: `  redlock campaign scheduler -- ./scheduler.sh       wait until this machine leads, then run it
  redlock campaign --again --ttl 10s scheduler -- ./scheduler.sh
                                                     if it ends, wait to lead again
  redlock campaign scheduler -- sh -c 'exec ./scheduler.sh --term "$REDLOCK_FENCE"'
                                                     pass on the number of the term (fencing token)`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + quarantineEnvironment + commandEnvironmentHelp(`
  `+fenceVariable+`   the number of the term: a fencing token, higher than that of all earlier terms`),
			exitSection: `  The command's own, or 128 + N if signal N ended it. Else:
  122  wrong usage, or the campaign would wait for itself
  123  the servers refuse for good; the command did not run
  124  the leadership was lost, and redlock stopped the command (or it had just ended by
       itself)
  126  the command cannot be run
  127  there is no such command
  128 + N  signal N came before this machine led; the command did not run
If SIGINT, SIGTERM or SIGHUP has ended the command or the wait, redlock ends by that
signal too, which shells show as 128 + N.
If the command ends with such a code itself, a line on stderr says so.`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.stderr = cmd.ErrOrStderr()
			if err := c.parse(cmd, args); err != nil {
				return err
			}
			return c.execute()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	c.nodes.register(flags, nodeTimeoutLimit)
	flags.BoolVar(&c.again, "again", false, "wait to lead again whenever the command has ended or the leadership was lost, until SIGTERM, SIGINT or SIGQUIT")
	durationVar(flags, &c.ttl, "ttl", defaultRunTTL, "how long nobody leads if this machine dies (a number without a unit is seconds, here and in all flags that are durations)")
	durationVar(flags, &c.grace, "grace", defaultGrace,
		"how long the command may take to end after SIGTERM if the leadership is lost, 0 to kill it at once; at most a third of the TTL, which is also the default if that is shorter")
	registerQuarantine(flags, &c.quarantine)
	flags.BoolVar(&c.passNodes, "pass-nodes", false, "pass REDLOCK_NODES and REDLOCK_PASSWORD on to the command although they may contain a password")
	flags.StringVar(&c.owner, "owner", "", "`label` by which others see who leads (default the host name and process id)")
	cmd.SetFlagErrorFunc(commandFlagError)
	return cmd
}

// A campaign is one invocation of redlock campaign.
type campaign struct {
	run
	again bool
}

// parse checks the arguments, before any I/O.
func (c *campaign) parse(cmd *cobra.Command, args []string) error {
	if err := c.parseCommand(cmd, args, ""); err != nil {
		return err
	}
	if err := c.checkGrace(cmd); err != nil {
		return err
	}
	if err := c.connect(cmd, c.options()...); err != nil {
		return err
	}
	if lease, err := c.conn.locker.Validity(); err != nil || c.lead() >= lease/2 {
		return usage(cmd, fmt.Sprintf("--ttl is %v: that is too short to lead", c.ttl))
	}
	return nil
}

// lead is how long before the end of the lease the command is told to stop.
func (r *run) lead() time.Duration { return r.grace + r.ttl/margin }

func (c *campaign) execute() error {
	defer c.close()
	reaper, err := c.prepare()
	if err != nil {
		return err
	}
	defer reaper.Close()
	c.signals = make(chan os.Signal, 16)
	child.Notify(c.signals)
	for {
		t := candidacy{campaign: c, reaper: reaper, begun: make(chan (<-chan struct{})), start: make(chan struct{})}
		err := t.run()
		if !t.over || slices.ContainsFunc(c.passed, asksToEnd) || !c.again {
			return err
		}
		c.say("campaigning again for the %s", c.what())
		if by := c.pause(); by != nil {
			return endedBy(by)
		}
	}
}

// pause waits for againPause. If a signal ends that, it returns the signal.
func (c *campaign) pause() os.Signal {
	child.Idle()
	timer := time.NewTimer(againPause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case sig := <-c.signals:
			if _, ends := child.Ends(sig); ends {
				return sig
			}
		}
	}
}

// A candidacy is one wait of a campaign, and the time for which it leads after that.
type candidacy struct {
	*campaign
	reaper *child.Reaper
	begun  chan (<-chan struct{}) // when this machine leads, receives what is closed when it leads no longer
	start  chan struct{}          // receives when the command may start
	since  time.Time
	notice bool // the user was told for whom it waits

	ran, over bool // the command was started, and has ended
	status    child.Status
	lost      bool
	failed    error // why the command could not be started
	released  error // the error of the release
}

// errTerm ends a campaign of package election after one term.
var errTerm = errors.New("the term is over")

// run waits until this machine leads, and runs the command. It returns what ends the tool.
func (t *candidacy) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t.since = time.Now()
	done := make(chan error, 1)
	go func() {
		done <- election.Campaign(ctx, t.conn.locker, t.name, election.Callbacks{
			Lead:  t.serve,
			Grace: t.lead(),
			Deposed: func(_ uint64, why error) {
				if t.ran { // otherwise it campaigns again
					t.released = why
					cancel()
				}
			},
		})
	}()
	timer := time.NewTimer(quietWait)
	defer timer.Stop()
	notice := timer.C
	signals, begun := t.signals, t.begun
	var by os.Signal
	for {
		select {
		case <-notice:
			by = t.ask(ctx, func(ctx context.Context) { t.notice = t.tellLeader(ctx) })
			if by != nil {
				begun = nil
				cancel()
			}
		case over := <-begun:
			if by = ending(signals); by != nil {
				begun = nil
				cancel()
				continue
			}
			if t.notice {
				t.say("leading %s after %s", text.Quote(t.name), round(time.Since(t.since)))
			}
			select {
			case t.start <- struct{}{}: // from now on the signals are the command's
				signals, notice = nil, nil
			case <-over: // it campaigns again
			}
		case sig := <-signals:
			if _, ends := child.Ends(sig); ends && by == nil {
				by, begun, notice = sig, nil, nil // the command does not start any more
				cancel()
			}
		case err := <-done:
			switch {
			case t.failed != nil:
				return t.cannotRun(t.failed)
			case t.over:
				return t.outcome(t.status, t.lost, t.unlockError())
			case by != nil:
				t.say("%v: gave up waiting for the %s", by, t.what())
				return endedBy(by)
			}
			return t.notLocked(err)
		}
	}
}

// serve runs the command while this machine leads.
func (t *candidacy) serve(ctx context.Context, _ uint64) error {
	// The handle tells how long this machine leads.
	lock, err := t.conn.locker.TryLock(ctx, t.name, redlock.WithReentrancy())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock(context.Background()) }()
	select {
	case t.begun <- ctx.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-t.start:
	case <-ctx.Done(): // a signal has come, or the leadership is over
		return context.Cause(ctx)
	}
	t.ran = true
	t.status, t.lost, t.failed = t.campaign.serve(single{lock}, t.reaper)
	t.over = t.failed == nil
	return errTerm
}

// unlockError returns the error of the release.
func (t *candidacy) unlockError() error {
	if t.released != nil {
		return t.released
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastErr
}

// tellLeader says who leads, or why nobody does. It reports whether it has said anything.
func (t *candidacy) tellLeader(ctx context.Context) bool {
	status, err := t.conn.locker.Inspect(ctx, t.name)
	switch name := text.Quote(t.name); {
	case err != nil:
		return false
	case status.State == redlock.StateUnknown:
		t.say("cannot lead %s yet, waiting: %s", name, statusTrouble(status))
	case status.State == redlock.StateHeld:
		t.say("waiting to lead %s, which %s leads", name, holder(status.Owner))
	default:
		return t.tellRefused(ctx)
	}
	return true
}

// tellRefused makes an attempt to find out why nobody leads. It reports whether it has said
// anything.
func (t *candidacy) tellRefused(ctx context.Context) bool {
	lock, err := t.conn.locker.TryLock(ctx, t.name, redlock.WithFencing())
	switch {
	case err == nil:
		t.abandon(single{lock}) // the campaign takes it
		return false
	case errors.Is(err, redlock.ErrTaken):
		t.say("waiting to lead %s, which others try to lead", text.Quote(t.name))
	case ctx.Err() != nil:
		return false
	default:
		t.say("cannot lead %s yet, waiting: %s", text.Quote(t.name), t.nodes.reason(err))
	}
	return true
}

// asksToEnd reports whether sig asks a program to end, and not to do something else that
// ends those that do not handle it.
func asksToEnd(sig os.Signal) bool {
	return sig == os.Interrupt || sig == syscall.SIGTERM || sig == syscall.SIGQUIT
}
