package users

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/quorumlock/quorumlock"

// drivers maps each adapter to its driver.
var drivers = map[string]string{
	"goredis": "github.com/redis/go-redis/v9",
	"redigo":  "github.com/gomodule/redigo",
	"rueidis": "github.com/redis/rueidis",
	"valkey":  "github.com/valkey-io/valkey-go",
}

// A program that uses one adapter builds outside the workspace, without any other driver among
// its modules. A program that uses only the core has no driver.
func TestModulesOfAProgram(t *testing.T) {
	t.Run("core", func(t *testing.T) {
		dir := program(t, "core", nil, `package main

import (
	"fmt"

	"`+module+`/backend"
	"`+module+`/backend/memory"
	"`+module+`/redlock"
)

func main() { fmt.Println(redlock.New([]backend.Node{memory.New()})) }
`)
		if got, want := goTool(t, dir, "list", "-m", "all"), "example.com/user\n"+module; !strings.HasPrefix(got, want) || strings.Count(got, "\n") > 2 {
			t.Errorf("modules of a program that uses the core:\n%s", got)
		}
	})
	for adapter, driver := range drivers {
		t.Run(adapter, func(t *testing.T) {
			dir := program(t, adapter, []string{adapter}, `package main

import (
	"fmt"

	"`+module+`/redlock"
	node "`+module+`/backend/`+adapter+`"
)

func main() { fmt.Println(redlock.New(nil)); _ = node.New }
`)
			modules := goTool(t, dir, "list", "-m", "all")
			if !strings.Contains(modules, driver+" ") {
				t.Errorf("no %s among\n%s", driver, modules)
			}
			for other, path := range drivers {
				if other != adapter && strings.Contains(modules, path+" ") {
					t.Errorf("%s is among the modules of a program that uses %s:\n%s", path, adapter, modules)
				}
			}
		})
	}
}

// The programs in the docs compile unchanged, and the tests in the docs pass.
func TestProgramsInTheDocs(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	found := 0
	for _, file := range append(docs, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range fence.FindAllStringSubmatch(string(text), -1) {
			source := block[1]
			if !strings.HasPrefix(source, "package ") {
				continue // a declaration, which is shown for its comments
			}
			found++
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i), func(t *testing.T) {
				var adapters []string
				for adapter := range drivers {
					if strings.Contains(source, module+"/backend/"+adapter) {
						adapters = append(adapters, adapter)
					}
				}
				program(t, "docs", adapters, source, requirements(t, source)...)
			})
		}
	}
	if found == 0 {
		t.Error("no program in README.md or docs/*.md")
	}
}

// program makes a module of source outside the workspace, with the adapters as a user gets them.
// It builds the module, or runs it if it is a test, and returns its folder. requires has further
// modules and their versions.
func program(t *testing.T, name string, adapters []string, source string, requires ...string) string {
	t.Helper()
	root := clone(t)
	dir := t.TempDir()
	file, try := "main.go", []string{"build", "-o", name, "."}
	if strings.Contains(source, "\nfunc Test") {
		file, try = "main_test.go", []string{"test", "-vet=all", "-count=1", "-timeout=1m", "."}
	}
	write(t, dir, file, source)
	mod := "module example.com/user\n\ngo 1.25.0\n\nrequire " + module + " v0.1.0\n\nreplace " + module + " => " + root + "\n"
	for _, a := range adapters {
		path := module + "/backend/" + a
		mod += "\nrequire " + path + " v0.1.0\n\nreplace " + path + " => " + filepath.Join(root, "backend", a) + "\n"
	}
	for _, r := range requires {
		mod += "\nrequire " + r + "\n"
	}
	write(t, dir, "go.mod", mod)
	goTool(t, dir, "mod", "tidy")
	goTool(t, dir, try...)
	return dir
}

// clone returns the folder of the repository.
func clone(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// requirements returns the version of each module besides this one that source imports and this
// package's module requires. A test then gets the same modules on every day. It must not change
// the files of this module, as "go list -m all" does here.
func requirements(t *testing.T, source string) []string {
	t.Helper()
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(goTool(t, "..", "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	var requires []string
	for _, r := range mod.Require {
		if !strings.HasPrefix(r.Path, module) && strings.Contains(source, `"`+r.Path) {
			requires = append(requires, r.Path+" "+r.Version)
		}
	}
	return requires
}

// goTool runs the go command in dir, outside of the workspace.
func goTool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
