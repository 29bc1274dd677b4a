// Command bench compares this library with its peers on real servers, in one run. From the root
// of the repository:
//
//	go run ./bench                      # everything, some twenty minutes
//	go run ./bench -quick               # a look, less than a minute
//	go run ./bench -work 'idle|drain' -impl 'go-redis' -csv out.csv
//
// It starts redis-server or valkey-server processes on the loopback interface, which end with it.
// docs/performance.md describes what is measured and how.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
