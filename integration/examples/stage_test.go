package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/integration/servers"
)

// images are what a stage can be made of: each has a Redis server, redis-cli and bash.
var images = []string{"quorumlock/redis:7.0", "redis:7.0"}

// A stage is a container with the tool and the servers r1 to r4.
type stage struct{ container string }

// newStage starts a stage for the test. The test is skipped, or fails, if there is no
// docker, or no image.
func newStage(t *testing.T) *stage {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput(); err != nil {
		servers.Require(t, "docker: %v: %s", err, out)
	}
	image := ""
	for _, name := range images {
		if exec.CommandContext(t.Context(), "docker", "image", "inspect", name).Run() == nil {
			image = name
			break
		}
	}
	if image == "" {
		servers.Require(t, "one of the images %s", strings.Join(images, ", "))
	}
	args := []string{"run", "--detach", "--rm", "--hostname", "web1"}
	for i, name := range []string{"r1", "r2", "r3", "r4"} {
		args = append(args, "--add-host", name+":127.0.0."+string(rune('2'+i)))
	}
	// It ends by itself if this process cannot remove it. A shell as the first process takes
	// leave of processes whose parents have ended.
	s := &stage{docker(t, append(args, image, "bash", "-c", "sleep 900 & wait $!")...)}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rm", "--force", s.container).CombinedOutput(); err != nil {
			t.Errorf("docker rm: %v: %s", err, out)
		}
	})
	docker(t, "exec", s.container, "mkdir", "/stage")
	docker(t, "cp", "testdata/stage.sh", s.container+":/stage/stage.sh")
	docker(t, "cp", buildTool(t), s.container+":/usr/local/bin/redlock")
	return s
}

// docker runs a command of docker, and returns its output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// buildTool builds the tool for a container, and returns its path.
func buildTool(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redlock")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/redlock")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}
