package migrating

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/quorumlock/quorumlock/integration/servers"
)

// Processes with redsync and processes with Quorumlock settle one account at the same time, and
// no payment is lost.
func TestProgramsExcludeEachOther(t *testing.T) {
	list := servers.Start(t, servers.Any, 3)
	dir := t.TempDir()
	run := func(name string, args ...string) error {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := run("go", "build", "-o", dir, "./before", "./after"); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, s := range list {
		addrs = append(addrs, s.Addr())
	}
	const payments = 10
	args := []string{"-servers", strings.Join(addrs, ","), "-store", addrs[0], "-payments", fmt.Sprint(payments), "alice"}
	after := append([]string{"-beside-redsync"}, args...)
	programs := map[string][]string{"before": args, "after": after}
	var all sync.WaitGroup
	processes := 0
	for name, args := range programs {
		for range 2 {
			processes++
			all.Go(func() {
				if err := run(filepath.Join(dir, name), args...); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if got, want := list[0].Do(t, "GET", "balance/alice"), fmt.Sprint(processes*payments); got != want {
		t.Errorf("the balance is %v after %s payments", got, want)
	}
	if n := holders(t, list, "settle/alice"); n > 0 {
		t.Errorf("the lock is left on %d servers", n)
	}
}
