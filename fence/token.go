package fence

import (
	"errors"
	"fmt"
	"math"
)

var errZero = errors.New("fence: token 0: the lock was acquired without fencing")

// check rejects 0, which is not a token.
func check(token uint64) error {
	if token == 0 {
		return errZero
	}
	return nil
}

// checkSQL rejects 0, and a token that does not fit into a bigint.
func checkSQL(token uint64) error {
	if token > math.MaxInt64 {
		return fmt.Errorf("fence: token %d is above %d, the highest of a bigint", token, int64(math.MaxInt64))
	}
	return check(token)
}
