package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestNodesFile(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for text, want := range map[string]string{
		"redis://a": "redis://a",
		"# three servers\nredis://a\n\n  rediss://:p,%20w@b?tls_ca=x \r\n\t# spare\nc:1\n": "redis://a rediss://:p,%20w@b?tls_ca=x c:1",
		"\ufeffredis://a\n": "redis://a",
	} {
		f := nodeFlags{file: writeFile(t, "nodes", text)}
		if got, _, err := f.find(none); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// What is wrong with a list of servers is said with the file and the line, and without
// what is in it.
func TestNodesFileErrors(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	folder := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"bad line":         {"# list\nredis://:" + secret + "@h1\n\nredis://:Zq7#Xv9Kw3J@h2\n", 0o600, `", line 4: the URL does not parse: want redis://`},
		"bad only line":    {"http://:" + secret + "@h", 0o600, `", line 1: the URL has an unknown scheme`},
		"two on a line":    {"redis://:" + secret + "@h1,redis://:" + secret + "@h2\n", 0o600, `", line 1: the URL has `},
		"bad parameter":    {"h\nredis://h2?color=" + secret, 0o600, `", line 2: the URL has an unknown parameter`},
		"missing password": {"redis://u@h", 0o600, `", line 1: the URL has a user without a password`},
		"missing file":     {"h\nrediss://h2?tls_ca=/no/such/file", 0o600, `", line 2: the URL names a file in tls_ca that does not exist`},
		"empty":            {"", 0o600, "--nodes-file: the file is empty"},
		"comments":         {"# redis://:" + secret + "@h\n", 0o600, "--nodes-file: the file names no server"},
		"public":           {"h1\nredis://:" + secret + "@h2", 0o644, "contains a password, and all users of this machine can read it (mode 0644): chmod o-r"},
		"public parameter": {"redis+sentinel://h?master_name=m&sentinel_password=" + secret, 0o604, "contains a password, and all users"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode != 0o600 {
				t.Skip("a mode says nothing on Windows")
			}
			path := writeFile(t, "nodes", tt.text)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := inProcess("end-quarantine", "--nodes-file", path)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tt.says) || !strings.Contains(stderr, path) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, stderr %q, want %d and one line with the file and %q", code, stderr, exitUsage, tt.says)
			}
			if part := leak(strings.ReplaceAll(stderr, path, ""), secret); part != "" {
				t.Errorf("stderr %q shows %q", stderr, part)
			}
		})
	}
	for _, tt := range []struct{ path, says string }{
		{filepath.Join(folder, "none"), `--nodes-file: the file does not exist ("` + folder},
		{folder, "--nodes-file: the file is a folder"},
		{"redis://:" + secret + "@h", "--nodes-file: the file does not exist (its name is not shown"},
		{secret, "--nodes-file: the file does not exist (its name is not shown"},
	} {
		code, _, stderr := inProcess("end-quarantine", "--nodes-file", tt.path)
		if code != exitUsage || !strings.Contains(stderr, tt.says) || leak(stderr, secret) != "" {
			t.Errorf("%s: code %d, stderr %q, want %q", tt.path, code, stderr, tt.says)
		}
	}
}

// A file that everybody can read is fine without a password in it.
func TestPublicNodesFile(t *testing.T) {
	path := writeFile(t, "nodes", "# our servers\nh1\nredis://h2?password_file=/run/secrets/redis\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readNodesFile(path); err != nil {
		t.Error(err)
	}
}

func FuzzNodesFile(f *testing.F) {
	const secret = "Zq7Xv9Kw3J"
	for _, url := range secretURLs("%s") {
		before, after, _ := strings.Cut(url, "%s")
		f.Add("h\n#\n"+before, strings.ReplaceAll(after, "%s", "")+"\nh2")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		flags := nodeFlags{file: writeFile(t, "nodes", before+secret+after)}
		urls, from, err := flags.find(func(string) (string, bool) { return "", false })
		errs := []error{err}
		for i, entry := range urls {
			if _, err := parseEntry(entry, defaults{}); err != nil {
				errs = append(errs, from.entryError(i, len(urls), err))
			}
		}
		for _, err := range errs {
			if err == nil {
				continue
			}
			if part := leak(strings.ReplaceAll(err.Error(), flags.file, ""), secret); part != "" && leak(before+after, secret) == "" {
				t.Errorf("the error shows %q: %v", part, err)
			}
		}
	})
}
