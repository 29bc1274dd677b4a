package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// What the library stores beside locks is in docs/compatibility.md.

const (
	// scanSteps times scanStep is about how many keys of a server are looked at. A server
	// with more keys than that is not searched to the end, because that could take minutes.
	scanSteps = 100
	scanStep  = 1000

	// mostDamaged is how many broken keys are named.
	mostDamaged = 3
)

// scan looks for queues and counters, and for what is wrong with them.
func (f *facts) scan(ctx context.Context, x *examination) {
	// It matches ":fence" and ":queue", and little else. The rest is left out below.
	pattern := literal(x.KeyPrefix) + "*:[fq]*e"
	for cursor := "0"; ; {
		reply, err := f.ask(ctx, "SCAN", cursor, "MATCH", pattern, "COUNT", strconv.Itoa(scanStep))
		if err != nil {
			f.scanErr = refusal("SCAN", err)
			return
		}
		pair, ok := reply.([]any)
		if !ok || len(pair) != 2 {
			f.scanErr = refusal("SCAN", errReply)
			return
		}
		next, ok1 := textOf(pair[0])
		keys, ok2 := listOf(pair[1])
		if !ok1 || !ok2 {
			f.scanErr = refusal("SCAN", errReply)
			return
		}
		f.inspect(ctx, x, keys)
		f.scanned++
		if cursor = next; cursor == "0" {
			f.complete = true
			return
		}
		if f.scanned == scanSteps {
			return
		}
	}
}

// literal returns s as a pattern that matches only s.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// inspect looks at the values of those keys that are queues or counters.
func (f *facts) inspect(ctx context.Context, x *examination, keys []string) {
	var own []string
	var commands [][]string
	for _, key := range keys {
		switch {
		case !strings.Contains(key, "}"): // not a key that the library makes
		case strings.HasSuffix(key, ":fence"):
			own, commands = append(own, key), append(commands, []string{"GET", key})
		case strings.HasSuffix(key, ":queue"):
			own, commands = append(own, key), append(commands, []string{"ZCARD", key})
		}
	}
	for i, key := range own {
		// One by one, because in a Cluster they are on different servers.
		answers, err := f.execute(ctx, []string{key}, commands[i])
		if err != nil {
			continue // the user has no right to this key
		}
		if why := damage(key, answers[0], time.Now().Add(f.offset)); why != "" {
			f.damaged = append(f.damaged, text.Quote(key)+" "+why)
		}
	}
}

// damage returns what is wrong with a counter or a queue, or "". now is the server's time.
func damage(key string, a answer, now time.Time) string {
	wrongType := a.err != nil && code(a.err) == "WRONGTYPE"
	if strings.HasSuffix(key, ":queue") {
		if wrongType {
			return "is a queue, and not a sorted set"
		}
		return ""
	}
	switch counter, ok := proto.ParseNumber(a.value); {
	case wrongType:
		return "is a counter, and not a string"
	case a.err != nil || a.value == "": // no right, or it has just expired
		return ""
	case !ok:
		return "is a counter, and not a number"
	case counter > now.Add(hopelessOffset).UnixMicro():
		return "is a counter, and more than a day ahead of the server's clock"
	}
	return ""
}

func checkBookkeeping(f *facts, _ *examination) verdict {
	if n := len(f.damaged); n > 0 {
		names := strings.Join(f.damaged[:min(n, mostDamaged)], "; ")
		if n > mostDamaged {
			names += fmt.Sprintf("; and %d more", n-mostDamaged)
		}
		return fail("Delete these keys while nobody holds their locks, and find out who writes them", "%s: locks with tokens are refused here, or waiters poll", names)
	}
	if f.scanErr != nil {
		return notChecked(f.scanErr)
	}
	if !f.complete {
		return fine("queues and counters are sound, as far as about %d keys show", scanSteps*scanStep)
	}
	return fine("queues and counters are sound")
}

// readMarker reads the marker of the quarantine.
func (f *facts) readMarker(ctx context.Context, x *examination) {
	marker := proto.MarkerKey(x.KeyPrefix)
	answers, err := f.execute(ctx, []string{marker}, []string{"GET", marker})
	if err == nil {
		f.marker, err = answers[0].value, answers[0].err
	}
	f.markerErr = err
}

var markerForm = regexp.MustCompile(`^(\S+) (\d{1,16})$`)

// checkQuarantine checks the marker, and what a quarantine needs if one is in use.
func checkQuarantine(f *facts, x *examination) verdict {
	const (
		wait   = "Wait until it ends by itself. If no lock was lost, redlock end-quarantine or Locker.EndQuarantine ends it at once"
		remove = "Delete the marker, and find out who writes it"
	)
	inUse := x.Quarantine > 0
	name := text.Quote(proto.MarkerKey(x.KeyPrefix))
	form := markerForm.FindStringSubmatch(f.marker)
	switch id := f.info["run_id"]; {
	case !f.rights.complete():
		return notChecked(errNoTrial)
	case code(f.markerErr) == "WRONGTYPE":
		return fail(remove, "the marker %s is not a string: locks with a quarantine are refused here", name)
	case len(f.rights.denied[quarantining]) > 0:
		return fail(x.allow(), "%s: no lock with a quarantine can be taken here", f.rights.lack(quarantining))
	case f.markerErr != nil:
		return notChecked(fmt.Errorf("the marker %s cannot be read: %s", name, text.Line(f.markerErr.Error())))
	case f.marker == "" && !inUse:
		return verdict{}
	case f.marker == "":
		return warn(wait, "the server has no marker: its first lock begins a quarantine of %v", x.Quarantine)
	case form == nil:
		return warn(remove, "the marker %s has an unknown form: the next lock begins a quarantine", name)
	case !inUse:
		return fine("there is a marker; other clients use a quarantine")
	case f.infoErr != nil:
		return notChecked(f.infoErr)
	case id == "":
		return fail("Use servers that return a run_id, or no quarantine", "INFO does not return a run_id: no lock with a quarantine can be taken here")
	case form[1] != id:
		return warn(wait, "the server was started again, or replaced: its next lock begins a quarantine of %v", x.Quarantine)
	}
	since, err := strconv.ParseInt(form[2], 10, 64)
	if err != nil {
		return notChecked(err)
	}
	left := time.UnixMicro(since).Add(x.Quarantine).Sub(time.Now().Add(f.offset))
	if since > 0 && left > 0 {
		return warn(wait, "it is in quarantine for another %v, and grants no lock", short(left))
	}
	return fine("it is not in quarantine")
}
