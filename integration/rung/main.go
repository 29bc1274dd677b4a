// Command rung prints which servers the integration tests would use on this machine, and why. It
// exits with 1 if the environment allows none of them.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/quorumlock/quorumlock/integration/servers"
)

func main() {
	sentence, err := servers.Rung(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "rung:", err)
		os.Exit(1)
	}
	fmt.Println(sentence)
}
