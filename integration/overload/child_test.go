//go:build unix

package overload

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// childVariable is the environment variable that makes the test binary run one of
// children instead of its tests.
const childVariable = "QUORUMLOCK_OVERLOAD_CHILD"

// children are the programs that tests start, by name. A program talks to the test
// through its peer. The process ends when the program returns.
var children = map[string]func(*peer) error{
	"forged keys":   forgedKeysChild,
	"contend":       contendChild,
	"unlock flood":  unlockFloodChild,
	"wait for many": waitForManyChild,
	"release":       releaseChild,
	"failed node":   failedNodeChild,
	"cut loop":      cutLoopChild,
	"error replies": errorRepliesChild,
	"held locks":    heldLocksChild,
}

// message is what a test and its child send each other, one JSON object each.
type message struct {
	Name  string
	Value json.RawMessage `json:",omitempty"`
}

// peer is the other side of a pair of pipes: the test's view of a child, or the
// child's view of the test.
type peer struct {
	mu  sync.Mutex
	out *json.Encoder
	in  chan message // closed when the other side ends
}

func newPeer(in *os.File, out *os.File) *peer {
	p := &peer{out: json.NewEncoder(out), in: make(chan message, 16)}
	go func() { // ends with the other side
		defer close(p.in)
		for d := json.NewDecoder(in); ; {
			var m message
			if d.Decode(&m) != nil {
				return
			}
			p.in <- m
		}
	}()
	return p
}

// tell sends a message.
func (p *peer) tell(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Encode(message{name, text})
}

var errPeerEnded = errors.New("the other process ended")

// expect waits for the next message, which must have the name, and stores its
// value in value unless that is nil.
func (p *peer) expect(name string, value any, within time.Duration) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case m, ok := <-p.in:
		if !ok {
			return errPeerEnded
		}
		if m.Name != name {
			return fmt.Errorf("got message %q %s, want %q", m.Name, m.Value, name)
		}
		if value == nil {
			return nil
		}
		return json.Unmarshal(m.Value, value)
	case <-timer.C:
		return fmt.Errorf("no message %q within %v", name, within)
	}
}

// runChild runs a program of children and returns the exit status.
func runChild(name string) int {
	program := children[name]
	if program == nil {
		fmt.Fprintf(os.Stderr, "no child is named %q\n", name)
		return 2
	}
	p := newPeer(os.Stdin, os.Stdout)
	test := make(chan message, 16)
	go func() { // the child ends with its test, even if it does not read messages
		for m := range p.in {
			test <- m
		}
		os.Exit(3)
	}()
	if err := program(&peer{out: p.out, in: test}); err != nil {
		fmt.Fprintf(os.Stderr, "child %q: %v\n", name, err)
		return 1
	}
	return 0
}

// A child is a process that a test has started.
type child struct {
	*peer
	t   *testing.T
	cmd *exec.Cmd
}

// patience bounds how long a test waits for a message that no load delays.
const patience = 30 * time.Second

// startChild starts a program of children. It ends with the test at the latest.
func startChild(t *testing.T, name string, config any) *child {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr = os.Stderr
	toChild, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, fromChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = toChild, fromChild
	err = cmd.Start()
	toChild.Close()
	fromChild.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{newPeer(stdout, stdin), t, cmd}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		for range c.in { // until the reader has ended
		}
		stdout.Close()
	})
	c.tell("config", config)
	return c
}

// tell sends a message and fails the test if the child has ended.
func (c *child) tell(name string, value any) {
	c.t.Helper()
	if err := c.peer.tell(name, value); err != nil {
		c.t.Fatalf("child: tell %q: %v", name, err)
	}
}

// expect waits for a message for a time that no load should exceed.
func (c *child) expect(name string, value any, within time.Duration) {
	c.t.Helper()
	if err := c.peer.expect(name, value, within); err != nil {
		c.t.Fatalf("child: %v", err)
	}
}
