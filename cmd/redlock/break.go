package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// breakNotHeld is the exit code of break if the lock does not belong to the holder that
// was named.
const breakNotHeld = 3

const breakMeans = `The holder is not stopped. If it is still alive, it learns that it has lost the lock when it ` +
	`next extends it: then "redlock run" stops its command, and the context of a program ends. Until then the next holder ` +
	`works at the same time, and only fencing tokens protect what they write to. So make sure that the holder is gone.`

func newBreak() *cobra.Command {
	b := &breaking{}
	cmd := &cobra.Command{
		Use:   "break [flags] NAME",
		Short: "Release a lock whose holder is gone",
		Long: `Releases a lock whose holder is gone, so that nobody has to wait until it ends by
itself. It shows who has the lock, and asks. The answer is the fingerprint of the
holder. Without a terminal it does not ask, and --yes must name the fingerprint that
"redlock status" has shown.

` + strings.Join(wrap(breakMeans, 86, ""), "\n") + `

Every server deletes the lock only if that holder has it, so a newer holder is never
hit. The next waiter is notified. A fencing counter stays as it is. A minimum hold
("redlock run --min-hold") ends too, because the servers do not know it. Remains of
an attempt, which make a lock split, are removed in the same way.`,
		Example: `  redlock break deploy                           shows the holder, and asks
  redlock break --yes 5feceb66 deploy            for scripts: only if it is still this holder`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  the lock is released
  1  not released: too few servers work, or the answer was no
  2  wrong usage, or somebody has the lock, and there is neither --yes nor a terminal
  3  not released: this holder does not have it (any more)`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := b.parse(cmd, args); err != nil {
				return err
			}
			defer b.conn.close(0)
			return b.execute(context.Background())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	b.nodes.register(flags, "")
	flags.StringVarP(&b.fingerprint, "yes", "y", "", "do not ask, and break the lock if the holder with this `fingerprint` has it")
	return cmd
}

// A breaking is one invocation of redlock break.
type breaking struct {
	nodes       nodeFlags
	fingerprint string // of the holder; empty to ask

	name   string
	conn   *connection
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// seenFingerprint says what --yes must be.
const seenFingerprint = `the fingerprint of the holder, eight digits as "redlock status" shows them`

var fingerprintForm = regexp.MustCompile(`^#?[0-9a-f]{8}$`)

// parse checks the arguments, before any I/O.
func (b *breaking) parse(cmd *cobra.Command, args []string) error {
	b.stdin, b.stdout, b.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	switch {
	case len(args) == 0:
		return usage(cmd, "the name of the lock is missing, as in: redlock break NAME")
	case len(args) > 1:
		return usage(cmd, fmt.Sprintf("break takes one lock, but was given %d: %s", len(args), arguments(args)))
	}
	b.name = args[0]
	if why := notInUse(b.nodes.prefix, b.name); why != "" {
		return usage(cmd, why)
	}
	if cmd.Flags().Changed("yes") && !fingerprintForm.MatchString(b.fingerprint) {
		return usage(cmd, fmt.Sprintf("--yes is %s: it must be %s", argument(b.fingerprint), seenFingerprint))
	}
	b.fingerprint = strings.TrimPrefix(b.fingerprint, "#")
	var err error
	if b.conn, err = b.nodes.observer(); err != nil {
		return usage(cmd, err.Error())
	}
	return nil
}

// say prints a message for the user.
func (b *breaking) say(format string, args ...any) {
	if !b.nodes.quiet {
		printLine(b.stderr, fmt.Sprintf(format, args...))
	}
}

// end returns the error that ends the tool with this code and message.
func (b *breaking) end(code int, format string, args ...any) error {
	b.say(format, args...)
	return &exitError{code: code}
}

func (b *breaking) execute(ctx context.Context) error {
	locks, err := b.conn.inspect(ctx, []string{b.name})
	if err != nil {
		return b.end(exitFailed, "break: %s", reason(err))
	}
	lock := &locks[0]
	if t := lock.trouble(); len(t.servers) > t.size-t.need {
		return b.end(exitFailed, "the lock %s is not released, because it is unknown who has it: %s", text.Quote(b.name), t)
	}
	if b.fingerprint == "" {
		b.conn.count(ctx, b.nodes.timeout, locks)
		if b.fingerprint, err = b.ask(lock); err != nil {
			return err
		}
	}
	report, err := b.conn.locker.Break(ctx, b.name, b.fingerprint)
	switch {
	case errors.Is(err, redlock.ErrNotHeld):
		return b.end(breakNotHeld, "the lock %s is not released: %s", text.Quote(b.name), b.notHeld(ctx))
	case err != nil:
		return b.end(exitFailed, "the lock %s is not released on enough servers: %s", text.Quote(b.name), b.nodes.reason(err))
	}
	who := "#" + b.fingerprint
	for _, c := range lock.claims() {
		if c.fingerprint == b.fingerprint {
			who = labelled(c.owner, c.fingerprint)
		}
	}
	said := fmt.Sprintf("released the lock %s of %s on %d of %d servers", text.Quote(b.name), who, report.Count(redlock.Granted), len(report))
	t := inTrouble(report, 0)
	for i, server := range t.servers {
		said += fmt.Sprintf("; %s: %s", server, t.complaints[i].what)
	}
	if len(t.servers) > 0 {
		said += "; what is left there ends by itself"
	}
	b.say("%s", said)
	return nil
}

// ask shows who has the lock, and returns the fingerprint that the user types.
func (b *breaking) ask(lock *lockState) (string, error) {
	var prints []string
	for _, c := range lock.claims() {
		if c.state == redlock.StateHeld {
			prints = append(prints, c.fingerprint)
		}
	}
	for _, reader := range lock.Readers {
		prints = append(prints, reader.Fingerprint)
	}
	terminal := isTerminal(b.stdin) && isTerminal(b.stdout)
	width := columns(b.stdout)
	page := lock.page(width)
	switch {
	case len(prints) == 0:
		if terminal {
			_, _ = io.WriteString(b.stdout, lines(page))
		}
		return "", b.end(breakNotHeld, "the lock %s is not released: no holder has it", text.Quote(b.name))
	case !terminal:
		return "", &exitError{code: exitUsage, text: "there is no terminal to ask on, so --yes must name " + seenFingerprint}
	}
	page = append(append(page, ""), wrap(breakMeans, width, "")...)
	question := "To release it, type the fingerprint of the holder: "
	if _, err := io.WriteString(b.stdout, lines(append(page, ""))+question); err != nil {
		return "", b.end(exitFailed, "break: cannot write: %v", err)
	}
	answer, err := bufio.NewReader(b.stdin).ReadString('\n')
	if err != nil {
		_, _ = io.WriteString(b.stdout, "\n")
	}
	answer = strings.TrimPrefix(strings.TrimSpace(answer), "#")
	for _, p := range prints {
		if answer == p {
			return answer, nil
		}
	}
	return "", b.end(exitFailed, "the lock %s is not released: the answer was not the fingerprint of a holder", text.Quote(b.name))
}

// notHeld says that the holder does not have the lock, and who has it now.
func (b *breaking) notHeld(ctx context.Context) string {
	not := "the holder #" + b.fingerprint + " does not have it"
	locks, err := b.conn.inspect(ctx, []string{b.name})
	if err != nil {
		return not
	}
	switch l := locks[0]; l.State {
	case redlock.StateHeld:
		if l.Fingerprint == b.fingerprint { // a value without a token, which no lock has
			return "its key " + text.Quote(l.Key) + " is not a lock but data of another program (TYPE shows the type); use another name or --prefix, or delete the key"
		}
		return not + ", but " + labelled(l.Owner, l.Fingerprint)
	case redlock.StateShared:
		return not + "; it is shared" + sharers(l.Status)
	case redlock.StateFree:
		return not + ", and nobody does"
	case redlock.StateReserved:
		return not + "; it is reserved for the waiter " + labelled(l.Owner, l.Fingerprint)
	}
	return not
}
