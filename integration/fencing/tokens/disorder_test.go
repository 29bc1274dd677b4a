package tokens

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// A grant is a lock that a client got: the time of the request, the time at which Lock returned,
// and the token.
type grant struct {
	asked, got time.Duration
	token      uint64
}

func (g grant) String() string {
	return fmt.Sprintf("%d (asked for at %v, got at %v)", g.token, g.asked, g.got)
}

// disorder returns the faults in the tokens of grants: two grants with the same token, or a grant
// whose token is not higher than that of a grant which was complete before its request.
func disorder(grants []grant) []string {
	var wrong []string
	byToken := slices.Clone(grants)
	slices.SortFunc(byToken, func(a, b grant) int { return cmp.Compare(a.token, b.token) })
	for i, g := range byToken {
		if i > 0 && g.token == byToken[i-1].token {
			wrong = append(wrong, fmt.Sprintf("twice: %v and %v", byToken[i-1], g))
		}
	}

	byGot, byAsked := slices.Clone(grants), slices.Clone(grants)
	slices.SortFunc(byGot, func(a, b grant) int { return cmp.Compare(a.got, b.got) })
	slices.SortFunc(byAsked, func(a, b grant) int { return cmp.Compare(a.asked, b.asked) })
	var highest grant // of the grants that were complete before the request of g
	for _, g := range byAsked {
		for len(byGot) > 0 && byGot[0].got < g.asked {
			if byGot[0].token > highest.token {
				highest = byGot[0]
			}
			byGot = byGot[1:]
		}
		if g.token <= highest.token {
			wrong = append(wrong, fmt.Sprintf("out of order: %v, and before it %v", g, highest))
		}
	}
	return wrong
}

// disorder finds the faults, and nothing else.
func TestDisorder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		grants []grant
		want   int
	}{
		{"in order", []grant{{0, 1, 5}, {2, 3, 6}, {4, 5, 9}}, 0},
		{"at the same time", []grant{{0, 3, 6}, {1, 2, 5}}, 0},
		{"no token", []grant{{0, 1, 0}}, 1},
		{"the same token twice, at the same time", []grant{{0, 2, 5}, {1, 3, 5}}, 1},
		{"the same token twice, one after another", []grant{{0, 1, 5}, {2, 3, 5}}, 2},
		{"lower", []grant{{2, 3, 4}, {0, 1, 5}}, 1},
		{"lower than a token of long ago", []grant{{0, 1, 9}, {0, 5, 3}, {2, 6, 10}, {7, 8, 8}}, 1},
		{"requested when the other was granted", []grant{{0, 2, 5}, {2, 3, 4}}, 0},
	} {
		if got := disorder(tc.grants); len(got) != tc.want {
			t.Errorf("%s: %d faults, want %d: %q", tc.name, len(got), tc.want, got)
		}
	}
}
