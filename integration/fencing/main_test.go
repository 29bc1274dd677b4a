package fencing

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	os.Exit(run(m))
}

// run starts every database that this machine has, and prints their names. It keeps its thread,
// because a server ends with the thread that started it.
func run(m *testing.M) int {
	runtime.LockOSThread()
	removeStaleFolders()
	var names []string
	for _, start := range []func() []*database{postgreSQL, mariaDB, sqlite} {
		for _, d := range start() {
			databases = append(databases, d)
			if d.lack != "" {
				names = append(names, "no "+d.name+" for want of "+d.lack)
				continue
			}
			names = append(names, d.name)
			defer d.close()
		}
	}
	fmt.Println("databases:", strings.Join(names, ", "))

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-interrupted
		for _, d := range databases {
			if d.lack == "" {
				d.close()
			}
		}
		os.Exit(130)
	}()
	return m.Run()
}
