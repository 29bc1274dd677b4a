package lua_test

import (
	"fmt"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// An adapter sends the hash, and the text where the server does not know it.
func ExampleDelete() {
	key, token := "orders/42", "secret"
	fmt.Println("EVALSHA", lua.Delete.Hash(), 1, key, token)
	// Output: EVALSHA 36ae5f3270a2086cf94024cc139223b7d839a5bd 1 orders/42 secret
}
