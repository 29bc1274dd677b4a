//go:build !unix

package server

import "errors"

// process is never made, because this system cannot make a process hang.
type process struct{}

func launch(string, string, ...string) (*process, error) {
	return nil, errors.New("servers can be started on Unix only: name running ones with -addrs")
}

func (*process) number() int   { return 0 }
func (*process) stop() error   { return ErrGiven }
func (*process) resume() error { return ErrGiven }
func (*process) kill() error   { return nil }
func (*process) ended() bool   { return false }
func (*process) log() string   { return "" }

func removeStaleFolders() {}
