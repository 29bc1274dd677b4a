package fence_test

import (
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/fence"
)

// An account is kept by this process, for holders of the lock "account" in any process.
type account struct {
	guard   fence.Guard
	balance int // protected by guard
}

// A paused holder writes after another holder has acquired its lock.
func ExampleGuard_Do() {
	var a account
	deposit := func(token uint64, amount int) error {
		return a.guard.Do(token, func() error {
			a.balance += amount // the token covers the read and the write
			return nil
		})
	}
	fmt.Println(deposit(33, 100)) // the first holder
	fmt.Println(deposit(34, 10))  // its lock has expired, and this is the second holder
	err := deposit(33, 1)         // the first holder wakes up
	fmt.Println(errors.Is(err, fence.ErrStale), err)
	fmt.Println(a.balance)
	// Output:
	// <nil>
	// <nil>
	// true fence: stale token 33: 34 was seen
	// 110
}

// A holder announces itself first if the data is read elsewhere.
func ExampleGuard_Announce() {
	var a account
	if err := a.guard.Announce(34); err != nil {
		fmt.Println(err)
	}
	// From now on earlier holders cannot write, so what is read stays true.
	read := a.balance
	late := a.guard.Do(33, func() error { a.balance = 0; return nil })
	err := a.guard.Do(34, func() error { a.balance = read + 10; return nil })
	fmt.Println(late)
	fmt.Println(err, a.balance)
	// Output:
	// fence: stale token 33: 34 was seen
	// <nil> 10
}
