// Command rung prints which servers the integration tests would run against on
// this machine, and why. It exits with 1 if there are none that the environment
// allows.
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
