package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	os.Exit(m.Run())
}

// arranged is what the examples in the help of a command are to find.
var arranged = map[string]string{
	"status": "redlock run --owner web2:4711 deploy -- sleep 600 & held deploy r1 r2 r3",
	"leader": "redlock campaign --owner web2:4711 scheduler -- sleep 600 & held scheduler r1 r2 r3",
	"break":  "redlock run --owner web2:4711 deploy -- sleep 600 & held deploy r1 r2 r3",
	"extend": "export REDLOCK_TOKEN=$(redlock lock deploy --ttl 5m); echo $REDLOCK_TOKEN >token",
	"unlock": "export REDLOCK_TOKEN=$(redlock lock backup --ttl 5m); redlock lock report --ttl 5m >token; KEY=$(redlock lock deploy 300000)",
}

// codes are the exit codes of examples that are not 0, and say what the example shows.
var codes = map[string]int{
	// The lock is held, or one of the locks is.
	"redlock status deploy":                       3,
	"redlock status deploy nightly":               3,
	"redlock status --watch --interval 5s deploy": 3,
	"redlock status --json deploy":                3,
	"redlock status --quiet deploy && echo free":  3,

	// It goes on until it is interrupted.
	"redlock campaign --again --ttl 10s scheduler -- ./scheduler.sh": 128 + 2,

	"redlock break deploy":                2, // no terminal to ask on
	"redlock break --yes 5feceb66 deploy": 3, // another holder has it

	// The servers have not been used with a quarantine.
	"redlock doctor --node r1:6379,r2:6379,r3:6379 --ttl 5m --quarantine 301s": 1,
}

// Each example in each help runs as it is printed.
func TestHelp(t *testing.T) {
	s := newStage(t)
	help := func(command ...string) string {
		return docker(t, append(append([]string{"exec", s.container, "redlock"}, command...), "--help")...)
	}
	names := parseCommands(help())
	if len(names) < 4 {
		t.Fatalf("the help lists the commands %q", names)
	}
	found := 0
	for _, name := range append([]string{""}, names...) {
		if name == "completion" || name == "help" { // cobra's own
			continue
		}
		paragraphs := parseHelp(help(strings.Fields(name)...))
		if len(paragraphs) == 0 && name != "version" {
			t.Errorf("redlock %s --help has no examples", name)
		}
		for i, commands := range paragraphs {
			found += len(commands)
			t.Run(fmt.Sprintf("redlock %s/%d", name, i+1), func(t *testing.T) {
				sh := s.shell(t)
				if before := arranged[name]; before != "" {
					sh.must(t, before)
				}
				for _, command := range commands {
					code, out, err := sh.run(runnable(command))
					t.Logf("$ %s", command)
					if err != nil || code != codes[command] {
						t.Fatalf("%s\nexit code %d, want %d, %v:\n%s", command, code, codes[command], err, out)
					}
				}
			})
		}
	}
	t.Logf("%d examples", found)
}

// runnable returns the command that runs an example. A line of a script becomes a script.
// A command that goes on until it is interrupted is interrupted.
func runnable(example string) string {
	switch {
	case strings.Contains(example, `"$0"`):
		script := "#!/bin/bash\n" + example + "\necho the rest of the script"
		return "cat >script <<'END'\n" + script + "\nEND\nchmod +x script; ./script"
	case strings.Contains(example, "--watch"), strings.Contains(example, "--again"):
		// In the foreground, timeout sends one signal. Otherwise it sends a second one to the
		// group, which may come when the tool has already ended its watch.
		return "timeout --foreground --preserve-status --signal INT 3 " + example
	}
	return example
}

// Each command in docs/operations.md runs as it is printed, and prints what the page shows.
func TestOperations(t *testing.T) {
	sections, err := parsePage(operations(t))
	if err != nil {
		t.Fatalf("docs/operations.md: %v", err)
	}
	if len(sections) == 0 {
		t.Fatal("docs/operations.md has no examples")
	}
	s := newStage(t)
	for _, section := range sections {
		t.Run(section.title, func(t *testing.T) {
			sh := s.shell(t)
			seen := fingerprints{}
			for _, step := range section.steps {
				if step.hidden {
					sh.must(t, step.command)
					continue
				}
				_, out, err := sh.run(seen.replace(step.command))
				seen.learn(step.output, out)
				if got, want := mask(out), mask(step.output); err != nil || got != want {
					t.Errorf("docs/operations.md:%d: $ %s\n%v; it prints:\n%s\nthe page shows:\n%s", step.line, step.command, err, out, step.output)
				}
				if err != nil {
					return
				}
			}
		})
	}
}

// The systemd units in docs/operations.md are valid.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("this machine has no systemd-analyze: %v", err)
	}
	units := regexp.MustCompile("(?ms)^```ini\n# /etc/systemd/system/(\\S+)\n(.*?)^```$").FindAllStringSubmatch(operations(t), -1)
	if len(units) == 0 {
		t.Fatal("docs/operations.md has no systemd units")
	}
	dir := t.TempDir()
	args := []string{"verify"}
	for _, unit := range units {
		// It checks that the programs exist.
		text := regexp.MustCompile(`/usr/local/bin/\w+`).ReplaceAllString(unit[2], "/bin/true")
		if strings.Contains(text, " campaign ") && !strings.Contains(text, "\nSuccessExitStatus=143\n") {
			t.Errorf("%s: a candidate that is stopped while it waits would count as failed", unit[1])
		}
		path := filepath.Join(dir, unit[1])
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v:\n%s", err, out)
	}
}

func operations(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
