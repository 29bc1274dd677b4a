package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// heading describes the machine and the servers.
func heading(ctx context.Context, servers []*server.Server) (string, error) {
	version, err := servers[0].Version(ctx)
	return fmt.Sprintf("%s on %s/%s, %s, clients and servers on %d cores",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, version, runtime.NumCPU()), err
}

// versions lists the versions of the compared libraries.
func versions(list []*peer.Implementation) []string {
	var lines []string
	for _, i := range list {
		if line := i.Module + " " + peer.Version(i.Module); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}
