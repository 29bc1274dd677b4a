package main

import (
	"net"
	"os"
	"testing"
)

// Ctrl-C ends a check of a server that says nothing.
func TestDoctorInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := start(t, l.Addr().String(), "doctor", "--node-timeout", "60s")
	conn, err := l.Accept() // the check is under way
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p.signal(os.Interrupt)
	p.want(doctorInterrupted)
	if p.stdout.String() != "" || p.stderr.String() != "" {
		t.Errorf("stdout %q, stderr %q", p.stdout, p.stderr)
	}
}
