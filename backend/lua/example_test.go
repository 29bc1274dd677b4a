package lua_test

import (
	"fmt"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// An adapter sends the hash, or the text if the server does not know the hash.
func ExampleDelete() {
	key, token := "orders/42", "secret"
	fmt.Println("EVALSHA", lua.Delete.Hash(), 1, key, token)
	// Output: EVALSHA 6874e473491f502ca765570efb2a418d443f21c4 1 orders/42 secret
}
