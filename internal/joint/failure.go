package joint

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/round"
)

// None is no key.
const None = -1

// A Failure is why a call has failed.
type Failure struct {
	Reason  Reason
	Key     int // that the call could not acquire or keep
	Awaited int // the last key for which the call waited because that was taken, or None

	// Result is that of the last attempt at the key if the call was Refused. Otherwise it
	// only has the context that has ended, if one has.
	Result round.Result

	Err error // why the key was lost, or the error of the extension
}

// A Reason says what a call did last.
type Reason uint8

const (
	Refused     Reason = iota // it asked for the key, or waited for it
	Lost                      // it paused, because the key was lost
	NotExtended               // it had all keys, and extended this one
)

func (f *Failure) Error() string {
	return fmt.Sprintf("key %d: reason %d, %v, %v", f.Key, f.Reason, f.Result.Verdict, f.Err)
}

// refused returns the error of a call that could not acquire key i.
func (c *Call) refused(i int, res round.Result) error {
	return &Failure{Key: i, Awaited: c.awaited, Result: res}
}

// ended returns errLost if the wait for key i has ended, with the result res, because
// another key was lost. Otherwise it returns the error of the call.
//
// If limited has ended too, as after a pause of the whole process, that is the reason: the
// caller knows nothing of the context that ends with the other key.
func (c *Call) ended(limited context.Context, i int, res round.Result) error {
	if res.CtxErr != nil {
		if err := limited.Err(); err != nil {
			res.Ctx, res.CtxErr = limited, err
		} else if c.lost() != None {
			return errLost
		}
	}
	return c.refused(i, res)
}
