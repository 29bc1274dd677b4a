package reach

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	os.Exit(servers.Run(func() int {
		defer func() { _ = os.RemoveAll(toolFolder) }()
		return m.Run()
	}))
}

var toolFolder string

// tool builds the tool when it is first needed, and returns its name.
var tool = sync.OnceValues(func() (string, error) {
	var err error
	if toolFolder, err = os.MkdirTemp("", "redlock-tool-"); err != nil {
		return "", err
	}
	path := filepath.Join(toolFolder, "redlock")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = filepath.Join("..", "..", "cmd", "redlock")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// A result is what the tool did.
type result struct {
	code           int
	stdout, stderr string
}

// execute runs the tool with variables and arguments, and with no other servers than they
// name.
func execute(t *testing.T, env []string, args ...string) result {
	t.Helper()
	path, err := tool()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "REDIS_") && !strings.HasPrefix(e, "REDLOCK_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// runs fails the test unless the tool runs a command under a lock.
func runs(t *testing.T, env []string, flags ...string) {
	t.Helper()
	r := execute(t, env, append(append([]string{"run", "--wait", "5"}, flags...), "job", "--", "echo", "done")...)
	if r.code != 0 || r.stdout != "done\n" || r.stderr != "" {
		t.Errorf("%q %q: exit code %d, stdout %q, stderr %q", env, flags, r.code, r.stdout, r.stderr)
	}
}

// fails fails the test unless the tool ends with code and one line that says what is
// wrong. It logs the line, for the documentation.
func fails(t *testing.T, code int, says string, env []string, flags ...string) {
	t.Helper()
	r := execute(t, env, append(append([]string{"run", "--wait", "0"}, flags...), "job", "--", "echo", "done")...)
	if r.code != code || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, says) {
		t.Errorf("%q %q: exit code %d, stdout %q, stderr %q, want %d and one line with %q", env, flags, r.code, r.stdout, r.stderr, code, says)
	}
	for _, secret := range []string{"s3cret", masterPassword, sentinelPassword, "wr0ng"} {
		if strings.Contains(r.stderr, secret) {
			t.Errorf("%q: the password is shown: %s", flags, r.stderr)
		}
	}
	t.Logf("%d  %s", r.code, r.stderr)
}

func TestToolOverTLS(t *testing.T) {
	s := servers.Start(t, servers.Any, 1, servers.WithTLS(), servers.WithPassword("s3cret"))[0]
	other := servers.Start(t, servers.Any, 1)[0]
	ca, cert, key := s.TLSFiles(t)
	password := file(t, "s3cret\n")
	url := "rediss://" + s.Addr()
	query := "?tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key + "&password_file=" + password
	secure := []string{"--tls-ca", ca, "--tls-cert", cert, "--tls-key", key}
	flags := append([]string{"--node", url}, secure...)

	runs(t, nil, "--node", url+query)
	runs(t, []string{"REDLOCK_NODES=" + url + query})
	runs(t, nil, append(flags, "--password-file", password)...)
	runs(t, []string{"REDLOCK_PASSWORD=s3cret"}, flags...)
	runs(t, []string{"REDLOCK_PASSWORD_FILE=" + password}, flags...)
	runs(t, []string{"REDLOCK_NODES_FILE=" + file(t, "# one server\n"+url+query+"\n")})
	runs(t, nil, "--nodes-file", file(t, "rediss://:s3cret@"+s.Addr()+"?tls_ca="+ca+"&tls_cert="+cert+"&tls_key="+key))
	runs(t, []string{"REDLOCK_PASSWORD=s3cret"}, append(flags, "--tls-server-name", "localhost")...)

	fails(t, 123, "signed by an authority that is not trusted here", nil, "--node", url)
	fails(t, 123, "its certificate is for another name", nil, append(flags, "--tls-server-name", "redis.example")...)
	fails(t, 123, "client certificate", nil, "--node", url, "--tls-ca", ca)
	fails(t, 123, "it wants a password", nil, flags...)
	fails(t, 123, "wrong user or password", []string{"REDLOCK_PASSWORD=wr0ng"}, flags...)
	fails(t, 123, "if it speaks TLS, write rediss://", nil, "--node", "redis://"+s.Addr())
	fails(t, 123, other.Addr(), nil, append([]string{"--node", "rediss://" + other.Addr()}, secure...)...)
	fails(t, 122, "--password-file: the file does not exist", nil, append(flags, "--password-file", ca+".none")...)
	fails(t, 122, "--nodes-file: the file does not exist", nil, "--nodes-file", ca+".none")
	fails(t, 122, "--tls-ca: the file does not exist", nil, "--node", url, "--tls-ca", ca+".none")
	fails(t, 122, "no effect, because no server is reached over TLS", nil, append([]string{"--node", other.Addr()}, secure...)...)

	// A command does not get the password, and a run inside it says why it has no servers.
	path, err := tool()
	if err != nil {
		t.Fatal(err)
	}
	r := execute(t, []string{"REDLOCK_PASSWORD=s3cret", "REDLOCK_NODES=" + url}, append(append([]string{"run"}, secure...), "job", "--", path, "run", "other", "--", "env")...)
	if r.code != 122 || !strings.Contains(r.stderr, "--pass-nodes") || strings.Contains(r.stdout+r.stderr, "s3cret") {
		t.Errorf("a run inside: exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
}

func TestToolWithSentinel(t *testing.T) {
	set := servers.StartSentinel(t, servers.Any, 1)
	url, sentinel := sentinelURL(set), set.Sentinels[0].Addr()
	plain := "redis+sentinel://" + sentinel + "?master_name="
	runs(t, nil, "--node", plain+set.Name)
	fails(t, 123, "its sentinels do not know the master", nil, "--node", plain+"another")
	fails(t, 123, "redis+sentinel://", nil, "--node", sentinel)

	protect(t, set)
	password := file(t, sentinelPassword)
	runs(t, nil, "--node", url, "--sentinel-password-file", password)
	runs(t, []string{"REDLOCK_NODES=" + url + "&sentinel_password=" + sentinelPassword})
	runs(t, []string{"REDLOCK_SENTINEL_PASSWORD=" + sentinelPassword, "REDLOCK_PASSWORD_FILE=" + file(t, masterPassword)},
		"--node", strings.ReplaceAll(url, ":"+masterPassword, ""))
	fails(t, 123, "no sentinel tells the master: it wants a password", nil, "--node", url)
	fails(t, 123, "no sentinel tells the master: wrong user or password", []string{"REDLOCK_SENTINEL_PASSWORD=wr0ng"}, "--node", url)
	fails(t, 123, "wrong user or password", nil, "--node", strings.ReplaceAll(url, masterPassword, "wr0ng"), "--sentinel-password-file", password)
	fails(t, 123, "no sentinel tells the master: ERR unknown command", nil, "--node", "redis+sentinel://"+set.Master.Addr()+"?master_name="+set.Name)
	fails(t, 123, "no sentinel tells the master: connection refused", nil, "--node", "redis+sentinel://"+nobody(t)+"?master_name="+set.Name)

	// A run inside the command of another one on the same set would wait for itself.
	path, err := tool()
	if err != nil {
		t.Fatal(err)
	}
	r := execute(t, nil, "run", "--node", url, "--sentinel-password-file", password, "job", "--",
		path, "run", "--node", url, "--sentinel-password-file", password, "job", "--", "true")
	if r.code != 122 || !strings.Contains(r.stderr, "would wait for itself") {
		t.Errorf("a run inside: exit code %d, stderr %q", r.code, r.stderr)
	}

	set.Master.Kill(t)
	runs(t, nil, "--node", url, "--sentinel-password-file", password, "--wait", "40", "--quiet")
}

func TestToolWithCluster(t *testing.T) {
	cluster := servers.StartCluster(t, servers.Any)
	single := servers.Start(t, servers.Any, 1)[0]
	url := clusterURL(cluster.Addrs()[:1])
	runs(t, nil, "--node", url)
	runs(t, nil, "--node", clusterURL(append([]string{nobody(t)}, cluster.Addrs()...)))
	fails(t, 123, "it does not belong to a Cluster", nil, "--node", "redis+cluster://"+single.Addr())

	home := cluster.NodeOf(t, "job")
	for _, s := range cluster.Nodes {
		if s != home {
			fails(t, 123, "it belongs to a Cluster (write redis+cluster://", nil, "--node", s.Addr())
			r := execute(t, nil, "status", "--node", s.Addr(), "--prefix", "app:")
			if r.code != 1 || !strings.Contains(r.stderr, "locks may be missing: "+s.Addr()+": it belongs to a Cluster") {
				t.Errorf("a list of one server: exit code %d, stderr %q", r.code, r.stderr)
			}
			break
		}
	}
	// In containers, something listens at the address of a server that is down.
	home.Kill(t)
	fails(t, 123, "Cluster of "+strings.Join(cluster.Addrs(), ",")+": ", nil, "--node", clusterURL(cluster.Addrs()))
	for _, s := range cluster.Nodes {
		if s != home {
			s.Kill(t)
		}
	}
	fails(t, 123, "Cluster of "+strings.Join(cluster.Addrs(), ",")+": ", nil, "--node", clusterURL(cluster.Addrs()))
}

// nobody returns an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
