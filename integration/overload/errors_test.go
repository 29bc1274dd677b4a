//go:build unix

package overload

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/resp"
)

type errorRepliesConfig struct {
	Adapter string
	Addr    string
	Callers int
}

type errorRepliesResult struct {
	Acquired []time.Time
	Errors   []string
}

// errorRepliesChild has callers that each lock a free key of their own.
func errorRepliesChild(test *peer) error {
	var config errorRepliesConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, []string{config.Addr})
	if err != nil {
		return err
	}
	warm, err := acquire(locker, "warm ", config.Callers) // opens connections
	if err != nil {
		return err
	}
	for _, lock := range warm {
		if err := lock.Unlock(context.Background()); err != nil {
			return err
		}
	}
	if err := test.tell("ready", nil); err != nil {
		return err
	}
	if err := test.expect("begin", nil, patience); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	type outcome struct {
		at  time.Time
		err error
	}
	outcomes := make(chan outcome, config.Callers)
	for i := range config.Callers {
		go func() {
			_, err := locker.Lock(ctx, fmt.Sprint("wanted ", i))
			outcomes <- outcome{time.Now(), err}
		}()
	}
	var result errorRepliesResult
	for range config.Callers {
		o := <-outcomes
		if o.err != nil {
			result.Errors = append(result.Errors, o.err.Error())
		} else {
			result.Acquired = append(result.Acquired, o.at)
		}
	}
	return test.tell("result", result)
}

// admin is a connection to a server that is opened before the fault and survives it.
type admin struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func newAdmin(t *testing.T, addr string) *admin {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &admin{t, conn, bufio.NewReader(conn)}
}

func (a *admin) send(args ...string) {
	a.t.Helper()
	if _, err := a.conn.Write(resp.AppendCommand(nil, args...)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *admin) reply() any {
	a.t.Helper()
	a.conn.SetReadDeadline(time.Now().Add(patience))
	_, value, err := resp.ReadReply(a.r)
	if err != nil {
		a.t.Fatal(err)
	}
	return value
}

// do runs a command that must succeed.
func (a *admin) do(args ...string) any {
	a.t.Helper()
	a.send(args...)
	value := a.reply()
	if err, ok := value.(resp.Error); ok {
		a.t.Fatalf("%s: %v", args, err)
	}
	return value
}

// serverCounts is what a server has counted since it was started.
type serverCounts struct{ requests, connections int }

var (
	processed = regexp.MustCompile(`(?m)^total_commands_processed:(\d+)`)
	received  = regexp.MustCompile(`(?m)^total_connections_received:(\d+)`)
	turned    = regexp.MustCompile(`(?m)^rejected_connections:(\d+)`)
	refused   = regexp.MustCompile(`rejected_calls=(\d+)`)
)

// counts returns the requests that were executed or rejected, and the connections
// that were accepted or rejected.
func (a *admin) counts() serverCounts {
	a.t.Helper()
	text := a.do("INFO", "stats").(string) + a.do("INFO", "commandstats").(string)
	sum := func(expressions ...*regexp.Regexp) (n int) {
		for _, e := range expressions {
			for _, m := range e.FindAllStringSubmatch(text, -1) {
				one, _ := strconv.Atoi(m[1])
				n += one
			}
		}
		return n
	}
	return serverCounts{sum(processed, refused), sum(received, turned)}
}

// faults make a server answer with errors, and undo that.
var faults = []struct {
	name       string
	begin, end func(a *admin)
}{
	{"READONLY",
		func(a *admin) { a.do("REPLICAOF", "127.0.0.1", "1") },
		func(a *admin) { a.do("REPLICAOF", "NO", "ONE") }},
	{"OOM",
		func(a *admin) { a.do("CONFIG", "SET", "maxmemory", "1") },
		func(a *admin) { a.do("CONFIG", "SET", "maxmemory", "0") }},
	{"LOADING",
		// The reload lasts until the delay for each key is set to 0. It answers requests
		// after each KB.
		func(a *admin) {
			a.do("DEBUG", "POPULATE", "20000", "filler", "100")
			a.do("CONFIG", "SET", "key-load-delay", "2000")
			a.do("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
			a.send("DEBUG", "RELOAD")
		},
		nil},
	{"BUSY",
		func(a *admin) {
			a.do("CONFIG", "SET", "busy-reply-threshold", "1")
			a.send("EVAL", "while true do end", "0")
		},
		nil},
	{"maxclients",
		func(a *admin) {
			a.do("CONFIG", "SET", "maxclients", "1")
			a.do("CLIENT", "KILL", "TYPE", "normal")
			a.do("CLIENT", "KILL", "TYPE", "pubsub")
		},
		func(a *admin) { a.do("CONFIG", "SET", "maxclients", "10000") }},
}

// A server answers every request with an error, while many callers lock.
func TestErrorReplies(t *testing.T) {
	for _, fault := range faults {
		for _, adapter := range adapters(t, false) {
			t.Run(fault.name+"/"+adapter, func(t *testing.T) {
				const callers = 300
				length := sized(1500*time.Millisecond, 5*time.Second)
				server := realServers(t, 1, servers.WithArgs("--enable-debug-command", "yes"))[0]
				tb := newTable(t, "N=1, %s, %s for %v, %d callers", adapter, fault.name, length, callers)
				c := startChild(t, "error replies", errorRepliesConfig{adapter, server.Addr(), callers})
				c.expect("ready", nil, patience)
				a := newAdmin(t, server.Addr())
				before := a.counts()
				fault.begin(a)
				time.Sleep(50 * time.Millisecond) // until errors are answered
				c.tell("begin", nil)
				time.Sleep(length)
				var after serverCounts
				ended := time.Now()
				if fault.end != nil {
					after = a.counts()
					fault.end(a)
				} else {
					other := newAdmin(t, server.Addr())
					if fault.name == "BUSY" {
						other.do("SCRIPT", "KILL")
					} else {
						after = other.counts()
						other.do("CONFIG", "SET", "key-load-delay", "0")
					}
					a.reply() // the reply to the command that ended; a killed script returns an error
				}
				if after == (serverCounts{}) {
					after = a.counts() // a busy server does not report them
				}
				var result errorRepliesResult
				c.expect("result", &result, 2*time.Minute)

				perSecond := func(n int) float64 { return float64(n) / length.Seconds() }
				early, took := 0, time.Duration(0)
				for _, at := range result.Acquired {
					took = max(took, at.Sub(ended))
					if at.Before(ended) {
						early++
					}
				}
				if early == callers {
					t.Fatal("the fault had no effect")
				}
				tb.note("callers that got their lock during the fault", "%d", early)
				exactly(tb, "callers that got their lock", len(result.Acquired), callers)
				for _, err := range result.Errors[:min(3, len(result.Errors))] {
					tb.note("error", "%s", err)
				}
				atMost(tb, "last lock, after the fault", took.Seconds(), sized(1.0, 0.5), "%.2f s")
				// All callers may begin before the first error arrives.
				atMost(tb, "requests during the fault", perSecond(after.requests-before.requests), 100+perSecond(callers), "%.0f/s")
				atMost(tb, "connections during the fault", perSecond(after.connections-before.connections), 20, "%.0f/s")
			})
		}
	}
}
