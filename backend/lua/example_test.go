package lua_test

import (
	"fmt"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// An adapter sends the hash, and the text where the server does not know it.
func ExampleDelete() {
	key, token := "orders/42", "secret"
	fmt.Println("EVALSHA", lua.Delete.Hash(), 1, key, token)
	// Output: EVALSHA 7c5c3441344b8a67c9523e6c8e7853bcadf49885 1 orders/42 secret
}
