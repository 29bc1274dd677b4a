package examples

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patient is how long a command may take.
const patient = 90 * time.Second

// endMark begins the line that follows the output of a command. After it comes the exit
// code.
const endMark = "--- end of the command: "

// A shell is a shell on a stage, which runs one command after the other, as a user does.
type shell struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	cancel func() error
}

// shell starts a shell whose tool uses r1, r2 and r3.
func (s *stage) shell(t *testing.T) *shell {
	t.Helper()
	cmd := exec.Command("docker", "exec", "--interactive", s.container, "bash")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sh := &shell{stdin, bufio.NewReader(stdout), cmd.Process.Kill}
	t.Cleanup(func() { // a shell that has ended has run its traps
		timer := time.AfterFunc(patient, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_, _ = io.WriteString(stdin, "kill $(jobs -p) 2>/dev/null; wait\n")
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Logf("the shell: %v", err)
		}
	})
	sh.must(t, "exec 2>&1; . /stage/stage.sh; clear")
	sh.must(t, "export REDLOCK_NODES=redis://r1:6379,redis://r2:6379,redis://r3:6379")
	return sh
}

// run runs a command and returns its exit code and output.
func (sh *shell) run(command string) (code int, output string, err error) {
	// The command begins with the exit code of the one before it, and does not read what
	// follows it.
	_, err = fmt.Fprintf(sh.stdin, "{\n%s\n} </dev/null; code=$?; printf '\\n%s%%d\\n' $code; (exit $code)\n", command, endMark)
	if err != nil {
		return 0, "", err
	}
	timer := time.AfterFunc(patient, func() { _ = sh.cancel() })
	defer timer.Stop()
	var out strings.Builder
	for {
		line, err := sh.stdout.ReadString('\n')
		if err != nil {
			return 0, out.String(), errors.Join(err, errors.New("the shell has ended, or the command did not end"))
		}
		if text, ok := strings.CutPrefix(line, endMark); ok {
			code, err = strconv.Atoi(strings.TrimSpace(text))
			return code, strings.TrimSuffix(out.String(), "\n"), err
		}
		out.WriteString(line)
	}
}

// must runs a command that arranges something, and fails the test if it fails.
func (sh *shell) must(t *testing.T, command string) {
	t.Helper()
	if code, out, err := sh.run(command); code != 0 || err != nil {
		t.Fatalf("%s: exit code %d, %v:\n%s", command, code, err, out)
	}
}
