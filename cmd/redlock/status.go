package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// Exit codes of status, which tell the state of the lock. They differ from exitUsage.
const (
	statusFree     = exitOK
	statusUnknown  = exitFailed
	statusHeld     = 3
	statusReserved = 4
	statusSplit    = 5
)

const (
	defaultInterval = time.Second
	shortInterval   = 100 * time.Millisecond
)

func newStatus() *cobra.Command {
	s := &status{}
	cmd := &cobra.Command{
		Use:   "status [flags] NAME...",
		Short: "Show who holds a lock, who waits for it, and what each server says",
		Long: `Shows the state of locks:

  free      it can be taken, because enough servers do not have it
  held      one holder has it on enough servers
  shared    any number of holders share it (redlock run --shared)
  reserved  it was released, and waits a moment for the next waiter to take it
  split     none of these: several holders, or remains of attempts, have too many servers
  unknown   it depends on servers that do not answer

A holder is shown with its label (--owner) and a fingerprint: eight digits that tell
holders apart, and that "redlock break" takes. The fencing counter is the fencing token
of the holder, if the holder has locked with one. The time in which a lock ends does
not count extensions. Nothing is changed, and what is shown may be over a moment later.
Replicas and full servers answer too, although they grant no lock: "redlock doctor"
finds them.

If permits of NAME are in use (redlock run --permits), they are shown below the lock,
with their holders and the callers that wait for one. They do not change the exit code,
because the lock has nothing to do with them.

With --prefix and no name, all locks that are not free and whose keys begin with the
prefix are listed. A permit is listed with its key, such as app:job{app:job}:permits:2,
which "redlock break" takes too. Every string there counts as a lock, except what the
locks keep beside them. The servers are searched in steps (SCAN), so that they are not
held up.

docs/status.md describes the output of --json.`,
		Example: `  redlock status deploy                          who holds it, and who waits?
  redlock status deploy nightly                  of several locks at once
  redlock status --watch --interval 5s deploy    a live view; Ctrl-C ends it
  redlock status --prefix app:                   all locks whose keys begin with app:
  redlock status --json deploy                   for programs
  redlock status --quiet deploy && echo free     for scripts`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  free
  1  unknown: too few servers answer, or the output could not be written
  2  wrong usage
  3  held, by one holder or by several who share it
  4  reserved for a waiter
  5  split
With several names: 1 if any is unknown, else 5, 3, 4 if any is so, else 0. A list
ends with 0, or with 1 if so few servers could be searched that held locks may be
missing. --watch ends with the code of what it has shown last.`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.parse(cmd, args); err != nil {
				return err
			}
			defer s.conn.close(0)
			return s.execute()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	s.nodes.register(flags, "")
	flags.BoolVar(&s.json, "json", false, "print one line of JSON")
	flags.BoolVar(&s.watch, "watch", false, "show it again and again: on a terminal in place, otherwise below each other")
	durationVar(flags, &s.interval, "interval", defaultInterval, "how often --watch looks")
	flags.Lookup("quiet").Usage = "no output, only the exit code (wrong usage is still explained)"
	return cmd
}

// A status is one invocation of redlock status.
type status struct {
	nodes       nodeFlags
	json, watch bool
	interval    time.Duration

	names          []string // none: list what is under the prefix
	conn           *connection
	stdout, stderr io.Writer
}

// parse checks the arguments, before any I/O.
func (s *status) parse(cmd *cobra.Command, args []string) error {
	s.names, s.stdout, s.stderr = args, cmd.OutOrStdout(), cmd.ErrOrStderr()
	if len(args) == 0 && s.nodes.prefix == "" {
		return usage(cmd, "the name of the lock is missing, as in: redlock status NAME (or --prefix, for all locks whose keys begin with it)")
	}
	for _, name := range args {
		if why := notInUse(s.nodes.prefix, name); why != "" {
			return usage(cmd, why)
		}
	}
	switch {
	case s.nodes.quiet && (s.json || s.watch):
		return usage(cmd, "--quiet prints nothing, so it cannot be used with --json or --watch")
	case !s.watch && cmd.Flags().Changed("interval"):
		return usage(cmd, "--interval is for --watch")
	case s.interval < shortInterval:
		return usage(cmd, fmt.Sprintf("--interval is %v: it must be at least %v", s.interval, shortInterval))
	}
	var err error
	s.conn, err = s.nodes.observer()
	if err != nil {
		return usage(cmd, err.Error())
	}
	return nil
}

// observer connects to the servers for commands that take no lock.
func (f *nodeFlags) observer() (*connection, error) {
	// The TTL is that of no lock. It allows for the node timeout.
	return f.connect(os.LookupEnv, redlock.WithNodeTimeout(f.timeout), redlock.WithTTL(max(redlock.DefaultTTL, 8*f.timeout)))
}

func (s *status) execute() error {
	ctx := context.Background()
	if !s.watch {
		return s.show(ctx)
	}
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return s.follow(ctx)
}

// show prints what the servers say now.
func (s *status) show(ctx context.Context) error {
	snap, err := s.look(ctx)
	if err != nil {
		return &exitError{code: exitFailed, text: "status: " + reason(err)}
	}
	if !s.nodes.quiet {
		out := snap.json() + "\n"
		if !s.json {
			out = lines(snap.page(columns(s.stdout)))
		}
		if _, err := io.WriteString(s.stdout, out); err != nil {
			return &exitError{code: exitFailed, text: "status: cannot write: " + err.Error()}
		}
		for _, why := range snap.failures() {
			printLine(s.stderr, why)
		}
	}
	return snap.end()
}

// look asks the servers.
func (s *status) look(ctx context.Context) (*snapshot, error) {
	snap := &snapshot{at: time.Now(), list: len(s.names) == 0, servers: len(s.conn.names)}
	names := s.names
	if snap.list {
		names, snap.unsearched = s.conn.search(ctx, s.nodes.prefix, s.nodes.timeout)
	}
	var err error
	snap.locks, err = s.conn.inspect(ctx, names)
	if err == nil && snap.list {
		snap.locks = withoutFree(snap.locks)
	}
	if err == nil && !snap.list {
		s.conn.count(ctx, s.nodes.timeout, snap.locks)
		s.conn.findPermits(ctx, s.nodes.timeout, snap.locks)
	}
	return snap, err
}

// A snapshot is what the servers said at one time.
type snapshot struct {
	at         time.Time
	locks      []lockState // in the order of their names on the command line, or sorted
	list       bool        // of what is under a prefix
	servers    int
	unsearched trouble // servers that could not be searched for locks
}

// complete reports whether no held lock can be missing in a list: a quorum has a held
// lock, and a quorum has at least one server in common with those that were searched.
func (s *snapshot) complete() bool {
	return len(s.unsearched.servers) < s.servers/2+1
}

// failures returns what to print on stderr.
func (s *snapshot) failures() []string {
	var said []string
	if t := s.unsearched; len(t.servers) > 0 && s.complete() {
		said = append(said, fmt.Sprintf("every lock that is held is listed, although not all servers could be searched: %s", t))
	} else if len(t.servers) > 0 {
		said = append(said, fmt.Sprintf("locks may be missing: %s", t))
	}
	unknown := 0
	var first *lockState
	for i := range s.locks {
		if s.locks[i].State == redlock.StateUnknown {
			unknown++
			first = cmp.Or(first, &s.locks[i])
		}
	}
	if first == nil {
		return said
	}
	what := "the state of the lock " + text.Quote(first.Key)
	if unknown > 1 {
		what = fmt.Sprintf("the state of %d locks", unknown)
	}
	return append(said, what+" is unknown: "+first.trouble().String())
}

// end returns the exit code.
func (s *snapshot) end() error {
	code := statusFree
	switch {
	case s.list && !s.complete():
		code = exitFailed
	case !s.list:
		states := make(map[redlock.State]bool)
		for _, l := range s.locks {
			states[l.State] = true
		}
		for _, worst := range []struct {
			state redlock.State
			code  int
		}{
			{redlock.StateUnknown, statusUnknown},
			{redlock.StateSplit, statusSplit},
			{redlock.StateHeld, statusHeld},
			{redlock.StateShared, statusHeld},
			{redlock.StateReserved, statusReserved},
		} {
			if states[worst.state] {
				code = worst.code
				break
			}
		}
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}
