package fence_test

import (
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/fence"
)

// An account is kept by this process, for holders of the lock "account" anywhere.
type account struct {
	guard   fence.Guard
	balance int // under guard
}

// A holder that was paused writes after its lock went to somebody else.
func ExampleGuard_Do() {
	var a account
	deposit := func(token uint64, amount int) error {
		return a.guard.Do(token, func() error {
			a.balance += amount // read and written under one announcement
			return nil
		})
	}
	fmt.Println(deposit(33, 100)) // the first holder
	fmt.Println(deposit(34, 10))  // its lock has expired, here is the second
	err := deposit(33, 1)         // and now the first one wakes up
	fmt.Println(errors.Is(err, fence.ErrStale), err)
	fmt.Println(a.balance)
	// Output:
	// <nil>
	// <nil>
	// true fence: stale token 33: 34 was seen
	// 110
}

// A holder announces itself first where the data is read by another way.
func ExampleGuard_Announce() {
	var a account
	if err := a.guard.Announce(34); err != nil {
		fmt.Println(err)
	}
	// From here on nothing comes from earlier holders, so what is read stays true.
	read := a.balance
	late := a.guard.Do(33, func() error { a.balance = 0; return nil })
	err := a.guard.Do(34, func() error { a.balance = read + 10; return nil })
	fmt.Println(late)
	fmt.Println(err, a.balance)
	// Output:
	// fence: stale token 33: 34 was seen
	// <nil> 10
}
