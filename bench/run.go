package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
	"github.com/quorumlock/quorumlock/bench/internal/work"
)

// run is the command. It returns the exit code. It writes the report to out, and progress and
// errors to log.
func run(ctx context.Context, args []string, out, log io.Writer) int {
	s, err := parse(args, log)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case s.list:
		list(out)
		return 0
	case s.draw != nil:
		if err := s.chart(); err != nil {
			fmt.Fprintln(log, "bench:", err)
			return 1
		}
		return 0
	}
	ok, err := s.measure(ctx, out, log)
	if err != nil {
		fmt.Fprintln(log, "bench:", err)
		return 1
	}
	if !ok {
		return 1
	}
	return 0
}

// list lists all works and implementations.
func list(w io.Writer) {
	for _, work := range work.All() {
		fmt.Fprintf(w, "work %s: %s\n", work.Name, work.About)
	}
	for _, i := range peer.All() {
		fmt.Fprintf(w, "implementation %s: %s %s\n", i.Name(), i.Module, peer.Version(i.Module))
	}
	for _, c := range peer.Ceilings() {
		fmt.Fprintf(w, "implementation %s/%s: the driver's own pipeline\n", peer.CeilingName, c.Driver)
	}
}

// measure does everything. It reports whether the requested bars were met.
func (s *settings) measure(ctx context.Context, out, log io.Writer) (bool, error) {
	redis.SetLogger(silent{}) // the driver's messages about a hung server are not interesting
	servers, err := s.servers(ctx)
	if err != nil {
		return false, err
	}
	defer server.Close(servers)

	begun := time.Now()
	b := &work.Bench{
		Servers: servers, Plan: s.plan, Results: &measure.Results{},
		Progress: func(format string, args ...any) {
			fmt.Fprintf(log, "%5.0f s  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
		},
	}
	for _, i := range peer.All() {
		if s.impl.MatchString(i.Name()) {
			b.Implementations = append(b.Implementations, i)
		}
	}
	for _, c := range peer.Ceilings() {
		if s.impl.MatchString(peer.CeilingName + "/" + c.Driver) {
			b.Ceilings = append(b.Ceilings, c)
		}
	}
	title, err := heading(ctx, servers)
	if err != nil {
		return false, err
	}
	fmt.Fprintln(out, title)
	for _, line := range versions(b.Implementations) {
		fmt.Fprintln(out, " ", line)
	}
	stop, err := s.profiles()
	if err != nil {
		return false, err
	}
	var broken error
	for _, w := range work.All() {
		if !s.work.MatchString(w.Name) {
			continue
		}
		if err := w.Run(ctx, b); err != nil {
			broken = fmt.Errorf("%s: %w", w.Name, err)
			break
		}
	}
	met, err := s.report(b, title, out) // even if it was interrupted, because it took long enough
	return met, errors.Join(broken, err, stop())
}

// servers starts the servers that are needed, or finds the given ones.
func (s *settings) servers(ctx context.Context) ([]*server.Server, error) {
	if len(s.addrs) > 0 {
		return server.Given(ctx, s.addrs)
	}
	return server.Start(ctx, s.plan.Servers())
}

// silent logs nothing.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
