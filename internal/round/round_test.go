package round

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// errDoubt is the error of a vote about a set that may still arrive.
var errDoubt = errors.New("it may still arrive")

// vote says a letter of outcomes as a Vote; D is a deletion that found nothing
// where the set may still arrive.
func vote(letter byte) Vote {
	switch letter {
	case 'D':
		return Vote{Outcome: NotHeld, Err: errDoubt}
	case 'F':
		return Vote{Outcome: Failed, Err: errors.New("broken")}
	}
	for o := Pending; o <= Quarantined; o++ {
		if o.String()[0] == letter {
			return Vote{Outcome: o}
		}
	}
	panic(string(letter) + " is no outcome")
}

func roundOf(k Kind, need int, letters string) *Round {
	b := NewBell(1)
	r := &Round{Kind: k, Need: need, Bell: &b}
	for i := range letters {
		r.Votes = append(r.Votes, vote(letters[i]))
	}
	return r
}

// The letters that an answer to each Kind of request can be.
var answers = map[Kind]string{Acquiring: "GTFO", Extending: "GNFOS", Releasing: "GNDFOS"}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		kind  Kind
		need  int
		votes string
		want  Verdict
	}{
		// Acquire: won at q grants, lost when refusals and failures exceed N-q.
		{Acquiring, 1, "G", Won},
		{Acquiring, 1, "T", Lost},
		{Acquiring, 1, "F", Unavailable},
		{Acquiring, 1, "O", Unavailable},
		{Acquiring, 1, "P", Undecided},
		{Acquiring, 2, "GGP", Won},
		{Acquiring, 2, "GPG", Won},
		{Acquiring, 2, "GTP", Undecided},
		{Acquiring, 2, "GFP", Undecided},
		{Acquiring, 2, "GTF", Lost},
		{Acquiring, 2, "TTP", Lost},
		{Acquiring, 2, "TPF", Lost},
		{Acquiring, 2, "FFP", Unavailable},
		{Acquiring, 2, "FOP", Unavailable},
		{Acquiring, 2, "GFO", Unavailable},
		{Acquiring, 3, "GGT", Lost},
		{Acquiring, 3, "GGF", Unavailable},
		{Acquiring, 3, "GGGPP", Won},
		{Acquiring, 3, "GGTTP", Undecided},
		{Acquiring, 3, "GTTTP", Lost},
		{Acquiring, 3, "FTTPP", Lost},
		{Acquiring, 3, "FFOPP", Unavailable},

		// Extend: held at q; gone when fewer than q can still have it.
		{Extending, 1, "G", Won},
		{Extending, 1, "N", Gone},
		{Extending, 1, "O", Unavailable},
		{Extending, 2, "GGP", Won},
		{Extending, 2, "NNP", Gone},
		{Extending, 2, "NSP", Gone},
		{Extending, 2, "GNP", Undecided},
		{Extending, 2, "GNF", Unavailable},
		{Extending, 2, "FFP", Unavailable},
		{Extending, 2, "FNP", Undecided}, // the last one may say that it is gone
		{Extending, 2, "SGF", Unavailable},
		{Extending, 3, "GGNNP", Undecided},
		{Extending, 3, "GGNNF", Unavailable},
		{Extending, 3, "GNNNP", Gone},

		// Unlock: nil at q deletions; not held when fewer than q can have had it; in the
		// end nil if q nodes are free.
		{Releasing, 1, "G", Won},
		{Releasing, 1, "N", Gone},
		{Releasing, 1, "F", Unavailable},
		{Releasing, 2, "GGP", Won},
		{Releasing, 2, "GNP", Undecided},
		{Releasing, 2, "GNN", Gone},
		{Releasing, 2, "NNP", Gone},
		{Releasing, 2, "GNF", Won},
		{Releasing, 2, "GNO", Won},
		{Releasing, 2, "GSF", Won},
		{Releasing, 2, "GSN", Gone},
		{Releasing, 2, "GFO", Unavailable},
		{Releasing, 2, "GFP", Undecided},
		{Releasing, 2, "FFP", Unavailable},
		{Releasing, 2, "GDF", Unavailable}, // the late one may still set it
		{Releasing, 2, "GDN", Gone},
		{Releasing, 3, "GGNPP", Undecided},
		{Releasing, 2, "GSP", Undecided}, // free, but the last one may say that it was gone
		{Releasing, 3, "GGNFP", Won},     // whatever the last one says
		{Releasing, 3, "GNSFF", Won},
		{Releasing, 3, "GGFFO", Unavailable},
	} {
		r := roundOf(tc.kind, tc.need, tc.votes)
		if got := r.judge(false); got != tc.want {
			t.Errorf("Kind %d, %s, need %d: %v, want %v", tc.kind, tc.votes, tc.need, got, tc.want)
		}
	}
}

// final is the verdict when all have answered, as the rule words it.
func final(k Kind, need int, votes string) Verdict {
	count := func(letters string) (n int) {
		for i := range votes {
			for j := range letters {
				if votes[i] == letters[j] {
					n++
				}
			}
		}
		return n
	}
	all := len(votes)
	switch {
	case count("G") >= need:
		return Won
	case k == Acquiring && count("FO") > all-need:
		return Unavailable
	case k == Acquiring:
		return Lost
	case all-count("NDS") < need: // so many can have it, or have had it
		return Gone
	case k == Releasing && count("GNS") >= need: // so many are free of it
		return Won
	}
	return Unavailable
}

// words yields every word of n letters.
func words(letters string, n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w := make([]byte, n)
		var fill func(i int) bool
		fill = func(i int) bool {
			if i == n {
				return yield(w)
			}
			for j := range letters {
				w[i] = letters[j]
				if !fill(i + 1) {
					return false
				}
			}
			return true
		}
		fill(0)
	}
}

// Whatever has been answered, the verdict has fallen if and only if no answer
// that is still to come could make it another. That an acquisition is lost is as
// final, even if of why it is lost only the answers so far speak.
func TestVerdictIsFinalAndEarliest(t *testing.T) {
	decided := 0
	for k, letters := range answers {
		for n := 1; n <= 5; n++ {
			for need := n/2 + 1; need <= n; need++ {
				finals := map[string]Verdict{}
				for w := range words(letters, n) {
					finals[string(w)] = final(k, need, string(w))
				}
				for w := range words("P"+letters, n) {
					votes := string(w)
					possible := map[Verdict]bool{}
					complete(votes, letters, func(all string) {
						v := finals[all]
						if k == Acquiring && v == Unavailable {
							v = Lost
						}
						possible[v] = true
					})
					got := roundOf(k, need, votes).judge(false)
					same := got
					if k == Acquiring && got == Unavailable {
						same = Lost
					}
					switch {
					case len(possible) > 1 && got != Undecided:
						t.Errorf("Kind %d, %s, need %d: %v, but it could be any of %v", k, votes, need, got, possible)
					case len(possible) == 1 && !possible[same]:
						t.Errorf("Kind %d, %s, need %d: %v, but it can only be %v", k, votes, need, got, possible)
					}
					if got != Undecided {
						decided++
					}

					// In the end, who has not answered has timed out.
					late := []byte(votes)
					for i := range late {
						if late[i] == 'P' {
							late[i] = 'O'
						}
					}
					if got, want := roundOf(k, need, votes).judge(true), final(k, need, string(late)); got != want {
						// Lost is not judged anew: the answers had decided it.
						if k != Acquiring || got == Won || want == Won {
							t.Errorf("Kind %d, %s, need %d, in the end: %v, want %v", k, votes, need, got, want)
						}
					}
				}
				if t.Failed() {
					return
				}
			}
		}
	}
	if decided < 10000 {
		t.Errorf("only %d rounds were decided", decided)
	}
}

// complete calls f with every way to fill in who has not answered.
func complete(votes, letters string, f func(string)) {
	var open []int
	for i := range votes {
		if votes[i] == 'P' {
			open = append(open, i)
		}
	}
	all := []byte(votes)
	for w := range words(letters, len(open)) {
		for i, at := range open {
			all[at] = w[i]
		}
		f(string(all))
	}
}

// Why an acquisition is lost: failures alone, or not.
func TestLostOrUnavailable(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for need := n/2 + 1; need <= n; need++ {
			for w := range words("PGTFO", n) {
				got := roundOf(Acquiring, need, string(w)).judge(false)
				failed := 0
				for _, l := range w {
					if l == 'F' || l == 'O' {
						failed++
					}
				}
				if alone := failed > n-need; got != Undecided && got != Won && (got == Unavailable) != alone {
					t.Errorf("%s, need %d: %v", w, need, got)
				}
			}
		}
	}
}

// The verdict falls once, with the first answer that decides; what comes after
// changes neither it nor the votes.
// A round that ends before all nodes were asked has a verdict too. The nodes that were not
// asked did not grant.
func TestCutBeforeAllWereAsked(t *testing.T) {
	for votes, want := range map[string]Verdict{"TSS": Unavailable, "PSS": Unavailable, "GSS": Unavailable, "TTS": Lost, "GGS": Won, "TPSSS": Unavailable, "TTGPS": Lost} {
		r := roundOf(Acquiring, len(votes)/2+1, votes)
		r.Cut()
		if r.Verdict != want {
			t.Errorf("%s: got verdict %v, want %v", votes, r.Verdict, want)
		}
	}
}

func TestVotesAfterTheVerdict(t *testing.T) {
	for k, letters := range answers {
		for w := range words(letters, 3) {
			for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
				r := roundOf(k, 2, "PPP")
				var verdict Verdict
				var votes string
				for _, i := range order {
					first := verdict == Undecided
					r.Count(i, vote(w[i]), time.Now())
					if first {
						verdict, votes = r.Verdict, Outcomes(r.Votes)
					}
					told := len(r.Bell.rung) == 1
					if told != (first && verdict != Undecided) {
						t.Fatalf("%s: told of a verdict: %v, it is %v", w, told, verdict)
					}
					if told {
						<-r.Bell.rung
					}
				}
				r.Expire(func(int) error { return context.DeadlineExceeded })
				if r.Verdict != verdict || Outcomes(r.Votes) != votes || verdict == Undecided {
					t.Errorf("Kind %d, %s in order %v: %v (%s) first, %v (%s) in the end", k, w, order, verdict, votes, r.Verdict, Outcomes(r.Votes))
				}
			}
		}
	}
}

// A deletion that failed and is tried again may still count.
func TestVoteReplaced(t *testing.T) {
	r := roundOf(Releasing, 2, "PPP")
	r.Count(0, vote('F'), time.Now())
	r.Count(0, vote('G'), time.Now())
	r.Count(1, vote('G'), time.Now())
	if r.Verdict != Won || Outcomes(r.Votes) != "GGP" {
		t.Errorf("%v (%s)", r.Verdict, Outcomes(r.Votes))
	}
}

func TestQuarantinedResult(t *testing.T) {
	for votes, want := range map[string]bool{
		"Q": true, "F": false, "QQP": true, "QQF": true, "QFF": false, "QFO": false, "QQT": true, "QFT": true, "QPP": true, "QP": true, "QFP": true, "QFFP": false, "TTF": false, "QFN": true,
	} {
		r := Result{Verdict: Unavailable}
		for i := range votes {
			r.Votes = append(r.Votes, vote(votes[i]))
		}
		if got := r.Quarantined(len(votes)/2 + 1); got != want {
			t.Errorf("%s: %v, want %v", votes, got, want)
		}
		if r.Verdict = Lost; r.Quarantined(1) {
			t.Errorf("%s: lost, and it is for the quarantine", votes)
		}
	}
}

func TestPermanent(t *testing.T) {
	refused := Vote{Outcome: Failed, Err: backend.MarkReply(errors.New("NOAUTH Authentication required."))}
	for _, tc := range []struct {
		votes   []Vote
		verdict Verdict
		need    int
		want    bool
	}{
		{[]Vote{refused}, Unavailable, 1, true},
		{[]Vote{vote('F')}, Unavailable, 1, false},
		{[]Vote{refused, vote('F'), vote('P')}, Unavailable, 2, false},
		{[]Vote{refused, refused, vote('P')}, Unavailable, 2, true},
		{[]Vote{refused, refused, vote('T')}, Lost, 2, false},
		{[]Vote{refused, vote('F'), vote('P')}, Unavailable, 3, true},
	} {
		r := Result{Verdict: tc.verdict, Votes: tc.votes}
		if got := r.Permanent(tc.need); got != tc.want {
			t.Errorf("%v, need %d: permanent %v", r, tc.need, got)
		}
	}
}
