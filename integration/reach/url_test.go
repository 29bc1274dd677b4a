package reach

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/integration/servers"
)

// Passwords of [protect].
const (
	masterPassword   = "m4ster"
	sentinelPassword = "s3ntinel"
)

// protect gives the servers of a Sentinel set one password, and the sentinels another.
func protect(t *testing.T, set *servers.Sentinel) {
	t.Helper()
	for _, s := range []*servers.Server{set.Replica, set.Master} {
		s.Do(t, "CONFIG", "SET", "masterauth", masterPassword)
	}
	for _, s := range set.Sentinels {
		s.Do(t, "SENTINEL", "SET", set.Name, "auth-pass", masterPassword)
	}
	for _, s := range []*servers.Server{set.Replica, set.Master} {
		// Not requirepass: the harness goes on without a password as another user.
		s.Do(t, "ACL", "SETUSER", "app", "on", ">"+masterPassword, "~*", "&*", "+@all")
	}
	for _, s := range set.Sentinels {
		s.Do(t, "ACL", "SETUSER", "default", "resetpass", ">"+sentinelPassword)
	}
}

// sentinelURL returns the URL of a Sentinel set for the user that protect adds.
func sentinelURL(set *servers.Sentinel) string {
	return "redis+sentinel://app:" + masterPassword + "@" + several(set.Addrs(), "?master_name="+set.Name+"&addr=")
}

func clusterURL(addrs []string) string { return "redis+cluster://" + several(addrs, "?addr=") }

// several joins addresses, the first and the second with first between.
func several(addrs []string, first string) string {
	head, rest := addrs[0], addrs[1:]
	if len(rest) == 0 {
		return head + strings.TrimSuffix(strings.TrimSuffix(first, "addr="), "&")
	}
	return head + first + strings.Join(rest, "&addr=")
}

// file writes text into a file that nobody else can read, and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
