// The command redlock holds a lock on Redis or Valkey servers while another command runs.
// A demo shows what such a lock is good for.
//
//	redlock demo                                       no Redis needed
//	redlock run deploy -- ./deploy.sh production       see redlock run --help
package main

import (
	"os"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
)

func main() {
	child.BecomeGuard()
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}
