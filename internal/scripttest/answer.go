package scripttest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// inFull converts the short answer to a vote, which says that the vote is for the hint,
// to the long form that is used for other numbers.
func inFull(op backend.Op, r backend.Reply) backend.Reply {
	if op.Script != lua.Vote || len(r) != 1 || len(op.Args) < 3 {
		return r
	}
	hint, err := strconv.ParseInt(op.Args[2], 10, 64)
	if err != nil {
		return r
	}
	return backend.Reply{int64(1), hint, r[0]}
}

// differ returns an error unless x and y are the same answer. ago is the time since the
// first operation.
func differ(x, y backend.Result, ago time.Duration) error {
	different := fmt.Errorf("one answers %v, the other %v", outcome(x), outcome(y))
	if (x.Err == nil) != (y.Err == nil) || x.OK != y.OK || len(x.Reply) != len(y.Reply) {
		return different
	}
	if errors.Is(x.Err, errors.ErrUnsupported) != errors.Is(y.Err, errors.ErrUnsupported) {
		return different
	}
	if x.Err != nil && fencingCode(x.Err) != fencingCode(y.Err) {
		return different
	}
	a, b := byName(x.Reply), byName(y.Reply)
	for i := range a {
		m, ok1 := a[i].(int64)
		n, ok2 := b[i].(int64)
		if s, ok := a[i].(string); ok && !ok1 { // a counter, as its key holds it
			t, _ := b[i].(string)
			m, ok1 = micros(s)
			n, ok2 = micros(t)
		}
		switch {
		case ok1 && ok2:
			if !near(m, n, ago) {
				return different
			}
		case a[i] != b[i]:
			return different
		}
	}
	return nil
}

// byName sorts the end of an answer of lua.Inspect: the members of a queue of which nobody knows
// how long they have waited. They may be the readers of a lock that is taken for a queue. When
// their shares end, and so their order, depends on the moment at which a node was asked.
func byName(r backend.Reply) backend.Reply {
	from := len(r)
	for from >= 6 && r[from-1] == any(int64(-1)) {
		if _, ok := r[from-2].(string); !ok {
			break
		}
		from -= 2
	}
	var names []string
	for i := from; i < len(r); i += 2 {
		names = append(names, r[i].(string))
	}
	slices.Sort(names)
	sorted := slices.Clone(r)
	for i, name := range names {
		sorted[from+2*i] = name
	}
	return sorted
}

// near reports whether m and n are the same number, read from two nodes one after the
// other with different clocks. A number is a time to live in milliseconds, a time in
// microseconds or, if it is small, a flag. A counter that is far ahead does not come from
// a clock, so it must be equal.
func near(m, n int64, ago time.Duration) bool {
	low, apart, slack := min(m, n), max(m, n)-min(m, n), ago+3*time.Second
	switch {
	case low < 10 || low > time.Now().Add(30*time.Minute).UnixMicro():
		return m == n
	case low > 1e14:
		return apart <= slack.Microseconds()
	}
	return apart <= slack.Milliseconds()
}

// micros parses a current time in microseconds, and reports whether text is one.
func micros(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 1e14
}

// fencingCode returns the code at the start of the error of a fencing script, or "" for
// any other error.
func fencingCode(err error) string {
	for _, code := range []string{"FENCE", "QUARANTINE"} {
		if strings.HasPrefix(strings.TrimPrefix(err.Error(), "-"), code+" ") {
			return code
		}
	}
	return ""
}

func outcome(r backend.Result) string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("with the error %q", r.Err)
	case r.Reply != nil:
		return check.Brief(r.Reply)
	}
	return fmt.Sprint(r.OK)
}
