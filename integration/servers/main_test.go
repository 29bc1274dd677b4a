package servers

import (
	"fmt"
	"os"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	if os.Getenv("SERVERS_TEST_DIE") != "" {
		die()
	}
	long.Package(m) // it starts servers of every kind
	Main(m)
}

// die is the process that TestDirtyEnd runs. It starts a server and ends without cleaning up.
func die() {
	r, why, err := climb(bg, fromEnv(), ladder)
	if err == nil {
		var list []*Server
		s := newSpec(r.kinds()[0], nil)
		if list, err = newHarness(r).acquire(bg, &s, 1); err == nil {
			fmt.Println(list[0].Addr())
			if r, ok := r.(*containers); ok {
				fmt.Println(r.owner.label)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, why, err)
	}
	os.Exit(3)
}
