package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	// clockSamples is how often the time is asked for. The quickest answer counts, because
	// it has the smallest error.
	clockSamples = 5

	// Counters follow a client's clock by 250 ms at most, and a quarantine that is a
	// second longer than the TTL allows for servers that are wrong by as much.
	maxOffset = 250 * time.Millisecond

	// A server rejects a counter that is more than a day ahead of its clock. So a server
	// that is a day behind the others takes part in no lock with a token.
	hopelessOffset = 24 * time.Hour
)

// readClock measures how far the server's clock is ahead of ours. The server has read its
// clock between the request and the reply. So the offset is that from the middle, and the
// error is at most half the round trip.
func (f *facts) readClock(ctx context.Context) {
	for i := range clockSamples {
		sent := time.Now()
		reply, err := f.ask(ctx, "TIME")
		trip := time.Since(sent)
		if err != nil {
			f.clockErr = refusal("TIME", err)
			return
		}
		at, err := parseTime(reply)
		if err != nil {
			f.clockErr = refusal("TIME", err)
			return
		}
		if margin := trip / 2; i == 0 || margin < f.margin {
			f.margin, f.offset = margin, at.Sub(sent.Round(0).Add(margin))
		}
	}
	f.clockRead = true
}

// parseTime returns a reply of TIME: seconds and microseconds.
func parseTime(reply any) (time.Time, error) {
	parts, ok := listOf(reply)
	if !ok || len(parts) != 2 {
		return time.Time{}, errReply
	}
	sec, err1 := strconv.ParseInt(parts[0], 10, 64)
	usec, err2 := strconv.ParseInt(parts[1], 10, 64)
	if first(err1, err2) != nil {
		return time.Time{}, errReply
	}
	return time.Unix(sec, usec*1000), nil
}

// setReference takes the median of the servers' clocks for the right time, because a
// single wrong clock does not move it. If their number is even, our own clock decides.
func (x *examination) setReference() {
	var offsets []time.Duration
	for _, f := range x.servers {
		if f.clockRead {
			offsets = append(offsets, f.offset)
		}
	}
	if len(offsets)%2 == 0 {
		offsets = append(offsets, 0)
	}
	slices.Sort(offsets)
	x.reference = offsets[len(offsets)/2]
}

func checkClock(f *facts, x *examination) verdict {
	if f.clockErr != nil {
		return notChecked(f.clockErr)
	}
	off := f.offset - x.reference
	what := fmt.Sprintf("its clock is %s (measured to within %v)", against(off, "the others"), short(f.margin))
	switch wrong := off.Abs() - f.margin; {
	case len(x.servers) == 1:
		return fine("there is no other server to compare its clock with")
	case wrong > hopelessOffset:
		return fail("Set its clock right while nobody holds a lock, and delete counters that are in the future", "%s: it cannot take part in locks with a fencing token", what)
	case wrong > maxOffset:
		return warn("Let a time service correct its clock slowly, or use a quarantine of the longest TTL + 0.5 s + twice the error", "%s", what)
	}
	return fine("%s", what)
}

// checkLocalClock compares this machine with the servers. The wall clock of a client
// endangers nothing. But its hints for fencing tokens are far off, so each lock with a
// token takes a second round trip.
func (x *examination) checkLocalClock() verdict {
	var margin time.Duration
	known := false
	for _, f := range x.servers {
		if f.clockRead {
			margin, known = max(margin, f.margin), true
		}
	}
	if !known {
		return notChecked(errors.New("no server tells its time"))
	}
	what := fmt.Sprintf("this machine's clock is %s (measured to within %v)", against(-x.reference, "the servers"), short(margin))
	if x.reference.Abs()-margin > maxOffset {
		return warn("Let a time service correct this machine's clock, or those of the servers", "%s", what)
	}
	return fine("%s", what)
}

// against formats a clock offset.
func against(d time.Duration, whose string) string {
	switch d = short(d); {
	case d > 0:
		return fmt.Sprintf("%v ahead of %s", d, whose)
	case d < 0:
		return fmt.Sprintf("%v behind %s", -d, whose)
	}
	return "equal to " + whose
}
