package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

// A loss of the leadership is told, and so is the error of Lead, whatever else ends while
// Lead stops.
func TestLossAndEnd(t *testing.T) {
	errElse := errors.Join(errMine, redlock.ErrNotHeld) // the loss of another lock
	type parts struct {
		x      *candidate
		cancel context.CancelCauseFunc
		flush  func() // the servers lose the lock
	}
	stepDown := func(p parts) { p.x.cut(0, faulty.Refuse(nil)) }
	flush := func(p parts) { p.flush() }
	end := func(p parts) { p.cancel(context.Canceled) }
	for name, tt := range map[string]struct {
		first, then func(p parts)
		returns     error // by Lead
		deposed     error
		want        []error
	}{
		"a loss, then the end of ctx":        {flush, end, errMine, redlock.ErrNotHeld, []error{context.Canceled, errMine}},
		"a step down, then the end of ctx":   {stepDown, end, nil, election.ErrStepsDown, []error{context.Canceled}},
		"the end of ctx, then a loss":        {end, flush, nil, redlock.ErrNotHeld, []error{context.Canceled}},
		"the end of ctx alone":               {end, func(parts) {}, errMine, nil, []error{context.Canceled, errMine}},
		"an end with both errors":            {end, func(parts) {}, errors.Join(context.Canceled, errMine), nil, []error{context.Canceled, errMine}},
		"a cause like that of a loss":        {func(p parts) { p.cancel(errElse) }, func(parts) {}, errElse, nil, []error{errMine}},
		"a cause like that of stepping down": {func(p parts) { p.cancel(election.ErrStepsDown) }, func(parts) {}, nil, nil, []error{election.ErrStepsDown}},
		"a loss, then Shutdown":              {flush, func(p parts) { go func() { _ = p.x.Shutdown(context.Background()) }() }, nil, redlock.ErrNotHeld, []error{redlock.ErrClosed}},
		"Shutdown": {func(p parts) { go func() { _ = p.x.Shutdown(context.Background()) }() }, func(parts) {}, errMine, nil,
			[]error{redlock.ErrClosed, errMine}},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, 3, func(t *testing.T, p *parliament) {
				ctx, cancel := context.WithCancelCause(t.Context())
				x := p.candidate("x")
				all := parts{x: x, cancel: cancel, flush: func() {
					for _, s := range p.servers {
						s.Flush()
					}
				}}
				var deposed []error
				ended := p.campaign(ctx, x, election.Callbacks{
					Lead: func(ctx context.Context, _ uint64) error {
						<-ctx.Done()
						tt.then(all)
						time.Sleep(20 * time.Second) // it needs time to stop
						return tt.returns
					},
					Deposed: func(_ uint64, why error) { deposed = append(deposed, why) },
				})
				tt.first(all)
				err := <-ended
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Errorf("Campaign: %v, want %v", err, want)
					}
				}
				switch {
				case tt.deposed == nil && len(deposed) > 0:
					t.Errorf("deposed without a loss: %v", deposed)
				case tt.deposed != nil && (len(deposed) != 1 || !errors.Is(deposed[0], tt.deposed)):
					t.Errorf("deposed with %v, want %v", deposed, tt.deposed)
				}
				x.cut(0)
				time.Sleep(time.Minute)
			})
		})
	}
}
