package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A use is what a right is needed for.
type use int

const (
	locking use = iota
	hashing     // sending a script by its hash
	waiting
	fencing
	quarantining
	uses // the number of uses
)

// rights is what the trials have shown.
type rights struct {
	denied  [uses][]string // commands and keys
	because [uses]error    // the first refusal
	trouble error          // why the server rejects writes, or something else that is no lack of a right
}

// The trials run each command that the library uses, on keys of their own. A script
// runs them, because the server applies the same rules there, nothing can come between
// the commands, and the keys are gone at the end. ACL DRYRUN would be no substitute: it
// needs a right that users of locks do not have, and Redis 7.
//
// script runs commands and returns the answer of each: "-" and the error, or "+" and the
// text or number. Each command is preceded by the number of its words.
const script = `
local answers, i = {}, 1
while ARGV[i] do
	local words = tonumber(ARGV[i])
	local a = redis.pcall(unpack(ARGV, i + 1, i + words))
	if type(a) == 'table' then
		a = a.err and '-' .. a.err or '+'
	else
		a = '+' .. (a or '')
	end
	answers[#answers + 1] = a
	i = i + words + 1
end
return answers
`

// An answer is that of one command in the script.
type answer struct {
	value string // if it is a text or a number
	err   error  // marked as by backend.MarkReply
}

// execute runs commands in the script, which declares keys.
func (f *facts) execute(ctx context.Context, keys []string, commands ...[]string) ([]answer, error) {
	args := append([]string{"EVAL", script, strconv.Itoa(len(keys))}, keys...)
	for _, c := range commands {
		args = append(append(args, strconv.Itoa(len(c))), c...)
	}
	reply, err := f.ask(ctx, args...)
	if err != nil {
		return nil, err
	}
	list, ok := listOf(reply)
	if !ok || len(list) != len(commands) {
		return nil, errReply
	}
	answers := make([]answer, len(list))
	for i, a := range list {
		if said, failed := strings.CutPrefix(a, "-"); failed {
			answers[i].err = backend.MarkReply(errors.New(strings.TrimPrefix(said, "-")))
		} else {
			answers[i].value = strings.TrimPrefix(a, "+")
		}
	}
	return answers, nil
}

// A trial is commands on one key, and what each is needed for.
type trial struct {
	key      string // "" if there is none
	commands []attempt
}

type attempt struct {
	use  use
	args []string
}

func needs(u use, args ...string) attempt { return attempt{u, args} }

const (
	trialLife  = "10000"  // milliseconds after which a key of a trial expires, if it cannot be deleted
	ownTicket  = "20:"    // a ticket begins with this
	queueScore = "0"      // of a ticket
	ownToken   = "doctor" // the value of keys
)

// trials returns everything that is tried with a lock of that key. The first trial is that
// of the lock itself.
func (x *examination) trials(lock string) []trial {
	inbox := x.inbox(lock)
	all := []trial{
		{lock, []attempt{
			needs(locking, "SET", lock, ownToken, "NX", "PX", trialLife),
			needs(locking, "GET", lock),
			needs(locking, "PTTL", lock),
			needs(locking, "PEXPIRE", lock, trialLife),
			needs(locking, "DEL", lock),
		}},
		{"", []attempt{
			needs(waiting, "TIME"),
			needs(waiting, "PUBLISH", inbox, ownToken),
			needs(waiting, "PUBSUB", "NUMSUB", inbox),
		}},
	}
	if queue, ok := proto.QueueKey(lock); ok {
		ticket := ownTicket + inbox
		all = append(all, trial{queue, []attempt{
			needs(waiting, "ZADD", queue, "NX", queueScore, ticket),
			needs(waiting, "PEXPIRE", queue, trialLife),
			needs(waiting, "ZRANK", queue, ticket),
			needs(waiting, "ZCARD", queue),
			needs(waiting, "ZRANGE", queue, "0", "0"),
			needs(waiting, "ZREM", queue, ticket),
			needs(waiting, "ZPOPMIN", queue),
			needs(waiting, "DEL", queue),
		}})
	}
	counter, ok1 := proto.CounterKey(lock)
	tombstone, ok2 := proto.TombstoneKey(lock, ownToken)
	if x.Fencing && ok1 && ok2 {
		all = append(all,
			trial{counter, []attempt{
				needs(fencing, "SET", counter, "1", "PX", trialLife),
				needs(fencing, "GET", counter),
				needs(fencing, "EXISTS", counter),
				needs(fencing, "PEXPIRE", counter, trialLife),
				needs(fencing, "DEL", counter),
			}},
			trial{tombstone, []attempt{
				needs(fencing, "SET", tombstone, "1", "PX", trialLife),
				needs(fencing, "DEL", tombstone),
			}},
			trial{"", []attempt{needs(fencing, "TIME")}})
	}
	if x.Quarantine > 0 {
		marker := proto.MarkerKey(x.KeyPrefix)
		all = append(all,
			trial{marker, []attempt{needs(quarantining, "GET", marker)}},
			trial{"", []attempt{needs(quarantining, "TIME"), needs(quarantining, "INFO", "server")}})
	}
	return all
}

// inbox returns the channel on which the doctor listens in the trials with that key.
func (x *examination) inbox(key string) string {
	return proto.Inbox(x.KeyPrefix, strings.TrimPrefix(key, x.KeyPrefix))
}

// tryRights runs the trials. After the first, it stops if the server accepts no writes,
// or if nothing could be deleted.
func (f *facts) tryRights(ctx context.Context, x *examination) {
	if _, err := f.ask(ctx, "EVAL", "return 1", "0"); err != nil {
		f.rights.note(locking, "EVAL", err)
		return
	}
	unknown := strings.Repeat("0", 40) // the hash of no script
	if _, err := f.ask(ctx, "EVALSHA", unknown, "0"); errors.Is(err, backend.ErrRefused) {
		f.rights.note(hashing, "EVALSHA", err)
	}
	// The library sets a lock without a script. Servers before Redis 7 reject some writes
	// only then, for example because of min-replicas-to-write.
	_, err := f.ask(ctx, "SET", f.key, ownToken, "NX", "PX", trialLife)
	if err != nil {
		f.rights.note(locking, "SET", err)
	}
	left := code(err) == "" // the first trial deletes it
	defer func() {
		if left {
			_, _ = f.ask(context.WithoutCancel(ctx), "DEL", f.key)
		}
	}()
	for i, t := range x.trials(f.key) {
		deleted := f.try(ctx, t)
		if i > 0 {
			continue
		}
		left = left && !deleted
		if f.rights.trouble != nil || len(f.rights.denied[locking]) > 0 {
			return
		}
	}
}

// try runs one trial. It reports whether the last command, which deletes the key, succeeded.
func (f *facts) try(ctx context.Context, t trial) bool {
	var keys []string
	if t.key != "" {
		keys = []string{t.key}
	}
	var commands [][]string
	for _, c := range t.commands {
		commands = append(commands, c.args)
	}
	answers, err := f.execute(ctx, keys, commands...)
	if err != nil { // the user has no right to the key
		f.rights.note(t.commands[0].use, "the key "+text.Quote(t.key), err)
		return false
	}
	for i, a := range answers {
		if a.err != nil {
			f.rights.note(t.commands[i].use, t.commands[i].args[0], a.err)
		}
	}
	return answers[len(answers)-1].err == nil
}

// note records that what is needed for u is not possible, because of err.
func (r *rights) note(u use, what string, err error) {
	switch {
	case !errors.Is(err, backend.ErrRefused):
		r.trouble = first(r.trouble, err)
	case !slices.Contains(r.denied[u], what):
		r.denied[u] = append(r.denied[u], what)
		r.because[u] = first(r.because[u], err)
	}
}

// explained are the errors that another check reports.
var explained = []string{"READONLY", "NOREPLICAS", "MISCONF", "OOM", "MOVED", "ASK", "CLUSTERDOWN"}

// lack returns what the user may not do, and why.
func (r *rights) lack(u use) string {
	return fmt.Sprintf("the user may not use %s (%s)", strings.Join(r.denied[u], ", "), text.Line(r.because[u].Error()))
}

// allow says which rights to give.
func (x *examination) allow() string {
	return fmt.Sprintf("Give the user the rights that docs/safety.md lists under \"ACL lines\", on ~%s* and &%s*",
		text.Name(x.KeyPrefix), text.Name(proto.Inbox(x.KeyPrefix, "")))
}

func checkRights(f *facts, x *examination) verdict {
	r := &f.rights
	switch {
	case len(r.denied[locking]) > 0:
		return fail(x.allow(), "%s: no lock can be taken here", r.lack(locking))
	case errors.Is(r.trouble, errSlow):
		return notChecked(errSlow)
	case r.trouble != nil && slices.Contains(explained, code(r.trouble)):
		return notChecked(fmt.Errorf("the server rejects writes (%s)", code(r.trouble)))
	case r.trouble != nil:
		return fail("See the server's log", "a trial of the commands of a lock failed: %s", text.Line(r.trouble.Error()))
	case len(r.denied[hashing]) > 0:
		return warn(x.allow(), "%s: each call sends the whole text of its script", r.lack(hashing))
	}
	return fine("the user may use all commands and keys that locks need")
}

func checkFencing(f *facts, x *examination) verdict {
	switch {
	case !x.Fencing:
		return verdict{}
	case len(f.rights.denied[fencing]) > 0:
		return fail(x.allow(), "%s: no lock with a fencing token can be taken here", f.rights.lack(fencing))
	case !f.rights.complete():
		return notChecked(errNoTrial)
	}
	return fine("the user may use all commands and keys that fencing tokens need")
}

var errNoTrial = errors.New("no lock can be taken")

// complete reports whether all trials were made.
func (r *rights) complete() bool { return r.trouble == nil && len(r.denied[locking]) == 0 }
