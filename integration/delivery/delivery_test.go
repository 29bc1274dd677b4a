package delivery

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	os.Exit(m.Run())
}

// scripts/dist builds the last commit: a static program that knows its version, manual
// pages and completions, with checksums. It fails by itself if a second build differs.
// The image takes locks on servers in other containers of its network.
func TestDist(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("the image of a release is for Linux, and this is %s", runtime.GOOS)
	}
	redis := image(t)
	version := fmt.Sprintf("v0.0.0-test.%d", os.Getpid())
	out := filepath.Join(t.TempDir(), "dist")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "quorumlock/redlock:"+version).Run() })
	t.Log(command(t, "../../scripts/dist", version, out, "linux/"+runtime.GOARCH))

	program := filepath.Join(out, "redlock_linux_"+runtime.GOARCH)
	for _, name := range []string{program, filepath.Join(out, "man/redlock-run.1"), filepath.Join(out, "completions/redlock.bash")} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = out
	if said, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v: %s", err, said)
	}
	if got, want := command(t, program, "version"), "redlock "+version+" ("; !strings.HasPrefix(got, want) {
		t.Errorf("the program says that it is %q, want %q", got, want)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs the libraries %q, %v", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program needs a dynamic linker")
		}
	}

	network := strings.ReplaceAll(version, ".", "-")
	command(t, "docker", "network", "create", network)
	t.Cleanup(func() { _ = exec.Command("docker", "network", "rm", network).Run() })
	for _, name := range []string{"r1", "r2", "r3"} {
		id := command(t, "docker", "run", "--detach", "--rm", "--network", network, "--network-alias", name, redis,
			"redis-server", "--save", "", "--protected-mode", "no")
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", id).Run() })
		for deadline := time.Now().Add(30 * time.Second); exec.Command("docker", "exec", id, "redis-cli", "ping").Run() != nil; {
			if time.Now().After(deadline) {
				t.Fatal("the server does not answer")
			}
		}
	}
	inImage := func(args ...string) string {
		return command(t, "docker", append([]string{"run", "--rm", "--network", network,
			"--env", "REDLOCK_NODES=r1,r2,r3", "quorumlock/redlock:" + version}, args...)...)
	}
	if got := inImage("end-quarantine"); got != "" {
		t.Errorf("end-quarantine: %q", got)
	}
	// The only program that can run there under a lock is the tool itself.
	if got := inImage("run", "--quarantine", "60s", "--fencing", "job", "--", "/redlock", "version"); !strings.HasPrefix(got, "redlock "+version) {
		t.Errorf("run: %q", got)
	}
}

// image returns the image of a Redis server. The test is skipped, or fails, if there is no
// docker, or no image.
func image(t *testing.T) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput(); err != nil {
		servers.Require(t, "docker: %v: %s", err, out)
	}
	images := []string{"quorumlock/redis:7.0", "redis:7.0"}
	for _, name := range images {
		if exec.CommandContext(t.Context(), "docker", "image", "inspect", name).Run() == nil {
			return name
		}
	}
	servers.Require(t, "one of the images %s", strings.Join(images, ", "))
	return ""
}

// command runs a command and returns its output, stdout and stderr.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v:\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
