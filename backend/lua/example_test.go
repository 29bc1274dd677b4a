package lua_test

import (
	"fmt"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// An adapter sends the hash, or the text if the server does not know the hash.
func ExampleDelete() {
	key, token := "orders/42", "secret"
	fmt.Println("EVALSHA", lua.Delete.Hash(), 1, key, token)
	// Output: EVALSHA 31f1411daca4395dc59e9f261042d0fdf96d8a69 1 orders/42 secret
}
