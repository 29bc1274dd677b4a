package delay

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// echo answers each line with itself until the test ends.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					conn.Write([]byte(line))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestProxyDelaysBothWays(t *testing.T) {
	const delay = 20 * time.Millisecond
	p, err := Start(echo(t), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)

	// Ten lines that are sent 1 ms apart take as long as one line, because they are under way at
	// the same time.
	start := time.Now()
	for range 10 {
		if _, err := conn.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	for i := range 10 {
		if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
	}
	if took := time.Since(start); took < 2*delay || took > 8*delay {
		t.Errorf("ten lines came back after %v, want between %v and %v", took, 2*delay, 8*delay)
	}
}

func TestProxyEndsWithEitherSide(t *testing.T) {
	p, err := Start(echo(t), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on after the proxy was closed")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the connection stays open after the proxy was closed")
	}
}
