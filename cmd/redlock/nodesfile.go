package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// readableByOthers is the permission that a list of servers with passwords must not have.
const readableByOthers = 0o004

// readNodesFile returns the URLs in a file, one per line, and the number of each line. It
// ignores empty lines and those that begin with #.
//
// It rejects a file that contains a password and that every user of the machine can read,
// because such a file is written by hand and the mistake is not seen otherwise. A file with
// nothing but a password ([secret]) may be readable: container platforms mount secrets
// that way, where there is only one user.
func readNodesFile(path string) (urls []string, lines []int, err error) {
	text, err := adapterkit.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // from editors on Windows
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		urls, lines = append(urls, line), append(lines, n)
	}
	if len(urls) == 0 {
		return nil, nil, &adapterkit.FileError{Problem: fmt.Sprintf("names no server: want the URL of one on each line (%q)", path)}
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() &&
		info.Mode()&readableByOthers != 0 && holdPassword(strings.Join(urls, " ")) {
		return nil, nil, &adapterkit.FileError{Problem: fmt.Sprintf("contains a password, and all users of this machine can read it (mode %04o): "+
			"chmod o-r, or keep the password in a --password-file (%q)", info.Mode().Perm(), path)}
	}
	return urls, lines, nil
}
