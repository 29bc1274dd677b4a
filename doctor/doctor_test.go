package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// found returns the warnings and failures of a report, such as "failure role b".
func found(report Report) []string {
	faults := []string{}
	for _, f := range report.At(Warning) {
		faults = append(faults, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Level, f.Check, f.Server)))
	}
	slices.Sort(faults)
	return faults
}

// Each reason for which something was not checked is given in the same words, so that it
// can be said once.
func TestNotChecked(t *testing.T) {
	f := healthyFake("a")
	f.info, f.config, f.denied = nil, nil, []string{"SCAN"}
	report, err := Check(t.Context(), servers(f, healthyFake("b"), healthyFake("c")), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string][]string{}
	for _, finding := range report {
		if finding.Level == NotChecked {
			reasons[finding.What] = append(reasons[finding.What], finding.Check)
		}
	}
	want := map[string]string{
		"the user may not run INFO":       "topology identity version role appendonly appendfsync save uptime eviction memory maxclients",
		"the user may not run CONFIG GET": "timeout pubsub-buffer",
		"the user may not run SCAN":       "bookkeeping",
	}
	for reason, checks := range want {
		if got := strings.Join(reasons[reason], " "); got != checks {
			t.Errorf("%s: %s, want %s", reason, got, checks)
		}
	}
	if len(reasons) != len(want) {
		t.Errorf("the reasons are %v", reasons)
	}
}

// Without INFO, CONFIG tells a part.
func TestConfigInsteadOfInfo(t *testing.T) {
	b := healthyFake("b")
	b.info = nil
	b.config["appendonly"], b.config["maxmemory"], b.config["maxmemory-policy"] = "no", "1000000", "allkeys-lru"
	report, err := Check(t.Context(), servers(healthyFake("a"), b, healthyFake("c")), Settings{})
	want := []string{"failure eviction b", "warning appendonly b"}
	if got := found(report); err != nil || !slices.Equal(got, want) {
		t.Errorf("found %q, %v, want %q", got, err, want)
	}
}

func TestTheSet(t *testing.T) {
	late := func(d time.Duration, fakes ...*fake) []Server {
		for _, f := range fakes {
			f.clock = d
		}
		return servers(fakes...)
	}
	a, b, c, d := healthyFake("a"), healthyFake("b"), healthyFake("c"), healthyFake("d")
	for _, tt := range []struct {
		name    string
		servers []Server
		want    string
	}{
		{"one", servers(a), "warning count"},
		{"two", servers(a, b), "warning count"},
		{"three", servers(a, b, c), ""},
		{"four", servers(a, b, c, d), "warning count"},
		{"a name twice", servers(a, b, a), "failure identity a"},
		{"our clock", late(time.Minute, healthyFake("a"), healthyFake("b"), healthyFake("c")), "warning local-clock"},
		{"one of two clocks", append(late(time.Minute, healthyFake("a")), servers(b)...), "warning clock a, warning count"},
		{"a majority is down", servers(a, dead("b"), dead("c")), "failure connection b, failure connection c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := Check(t.Context(), tt.servers, Settings{})
			if got := strings.Join(found(report), ", "); err != nil || got != tt.want {
				t.Errorf("found %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func dead(name string) *fake {
	f := healthyFake(name)
	f.fails["PING"] = syscall.ECONNREFUSED
	return f
}

// A lock that everybody can have at the same time, and one that nobody can release.
func TestProbe(t *testing.T) {
	generous := faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
		if op.Kind == backend.OpEval && op.Script.Name() == "acquire" || op.Kind == backend.OpSetNX {
			return backend.Result{OK: true, Reply: backend.Reply{int64(1)}}
		}
		return next(ctx)
	})
	for _, tt := range []struct {
		name  string
		fault faulty.Fault
		want  string
	}{
		{"none", nil, ""},
		{"two holders", generous, "failure probe"},
		{"nobody can lock", faulty.Refuse(errors.New("ERR bang")), "failure probe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fakes := []*fake{healthyFake("a"), healthyFake("b"), healthyFake("c")}
				for _, f := range fakes {
					n := faulty.NewFaultNode(f.node)
					if tt.fault != nil {
						n.Set(tt.fault)
					}
					f.node = n
				}
				report, err := Check(t.Context(), servers(fakes...), Settings{})
				got := slices.DeleteFunc(found(report), func(s string) bool { return strings.HasPrefix(s, "warning waiting") })
				if err != nil || strings.Join(got, ", ") != tt.want {
					t.Errorf("found %q, %v, want %q", got, err, tt.want)
				}
				for _, f := range report.At(Warning) {
					t.Log(f)
				}
				for _, f := range fakes { // its keys are removed in any case
					if !slices.ContainsFunc(f.sent, func(s string) bool { return strings.HasPrefix(s, "DEL "+keyName) }) {
						t.Errorf("%s got %q, want a DEL", f.name, f.sent)
					}
				}
			})
		})
	}
}

// Without a probe, or without nodes, the doctor takes no lock.
func TestNoProbe(t *testing.T) {
	a := healthyFake("a")
	report, err := Check(t.Context(), servers(a, healthyFake("b"), healthyFake("c")), Settings{NoProbe: true})
	if err != nil || len(found(report)) > 0 || slices.ContainsFunc(report, func(f Finding) bool { return f.Check == "probe" }) {
		t.Errorf("found %v, %v", report, err)
	}
	a.node = nil
	report, err = Check(t.Context(), servers(a, healthyFake("b"), healthyFake("c")), Settings{})
	if err != nil || len(found(report)) > 0 {
		t.Errorf("found %q, %v", found(report), err)
	}
	var unknown []string
	for _, f := range report.At(NotChecked) {
		unknown = append(unknown, f.Check)
	}
	if !slices.Equal(unknown, []string{"waiting", "probe"}) {
		t.Errorf("not checked: %q", unknown)
	}
}

// A server that hangs costs the limit once, even if Do ignores its ctx.
func TestHangs(t *testing.T) {
	for _, from := range []string{"PING", "INFO", "TIME", "EVAL", "SCAN"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := healthyFake("b")
				server := b.server()
				release := make(chan struct{})
				defer close(release)
				server.Do = func(ctx context.Context, args ...any) (any, error) {
					if args[0] == from {
						<-release
					}
					return b.do(ctx, args...)
				}
				start := time.Now()
				report, err := Check(t.Context(), []Server{healthyFake("a").server(), server, healthyFake("c").server()}, Settings{})
				if got := strings.Join(found(report), ", "); err != nil || got != "failure connection b" {
					t.Errorf("found %s, %v", got, err)
				}
				if took := time.Since(start); took > 2100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A server that answers each command slowly ends the check all the same.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := healthyFake("b")
		server := b.server()
		server.Do = func(ctx context.Context, args ...any) (any, error) {
			time.Sleep(1900 * time.Millisecond)
			return b.do(ctx, args...)
		}
		start := time.Now()
		report, err := Check(t.Context(), []Server{healthyFake("a").server(), server, healthyFake("c").server()}, Settings{})
		if got := strings.Join(found(report), ", "); err != nil || got != "failure latency b" {
			t.Errorf("found %s, %v", got, err)
		}
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(2 * time.Second) // what was left behind in Do ends
	})
}

func TestLatency(t *testing.T) {
	for trip, want := range map[time.Duration]string{
		100 * time.Millisecond: "",
		130 * time.Millisecond: "warning latency b",
		260 * time.Millisecond: "failure latency b",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := healthyFake("b")
			server := b.server()
			server.Do = func(ctx context.Context, args ...any) (any, error) {
				time.Sleep(trip)
				return b.do(ctx, args...)
			}
			report, err := Check(t.Context(), []Server{healthyFake("a").server(), server, healthyFake("c").server()}, Settings{})
			if got := strings.Join(found(report), ", "); err != nil || got != want {
				t.Errorf("%v: found %s, %v, want %s", trip, got, err, want)
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	f := healthyFake("a")
	for _, tt := range []struct {
		servers  []Server
		settings Settings
		says     string
	}{
		{nil, Settings{}, "no server"},
		{[]Server{{Name: "x"}}, Settings{}, "Do is nil"},
		{servers(f), Settings{TTL: -1}, "must be positive"},
		{servers(f), Settings{TTL: 1<<63 - 1, Quarantine: 1}, "a TTL of 2562047h47m16.854775807s: must be at most 87600h0m0s"},
		{servers(f), Settings{NodeTimeout: -1}, "must be positive"},
		{servers(f), Settings{Quarantine: -1}, "must be longer"},
		{servers(f), Settings{TTL: time.Minute, Quarantine: time.Minute + time.Second - 1}, "must be longer"},
	} {
		if report, err := Check(t.Context(), tt.servers, tt.settings); err == nil || !strings.Contains(err.Error(), tt.says) || report != nil {
			t.Errorf("%+v: %v, %v, want %q", tt.settings, report, err, tt.says)
		}
	}
	if len(f.sent) > 0 {
		t.Errorf("sent %q", f.sent)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if report, err := Check(ctx, servers(f), Settings{}); err == nil || err.Error() != "doctor: enough" || report != nil {
		t.Errorf("a ctx that has ended: %v, %v", report, err)
	}
}
