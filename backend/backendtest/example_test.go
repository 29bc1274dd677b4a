package backendtest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// forgetful deletes a key for any token.
type forgetful struct{ backend.Node }

func (n forgetful) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	n.Node.EvalDelete(ctx, key, token)
	return true, nil
}

// Check reports which rules a node breaks. In a test, Run does the same with a subtest for each
// check.
func ExampleCheck() {
	err := backendtest.Check(context.Background(), backendtest.Harness{
		New: backendtest.Reuse(forgetful{memory.New()}),
	})
	var first *backendtest.CheckError
	if errors.As(err, &first) {
		fmt.Println(first.Check)
		fmt.Println(first.Err)
	}
	// Output:
	// SetNX/free
	// EvalDelete of the key just taken, with another token = true, want false
}
