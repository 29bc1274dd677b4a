package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CPU returns the time that the servers together have used since their start, in user and kernel
// mode.
func CPU(ctx context.Context, list []*Server) (time.Duration, error) {
	var sum time.Duration
	for _, s := range list {
		text, err := s.admin.Info(ctx, "cpu").Result()
		if err != nil {
			return 0, fmt.Errorf("INFO cpu of %s: %w", s.addr, err)
		}
		used, err := parseCPU(text)
		if err != nil {
			return 0, fmt.Errorf("INFO cpu of %s: %w", s.addr, err)
		}
		sum += used
	}
	return sum, nil
}

// parseCPU adds up lines such as "used_cpu_sys:1.250000", which count seconds.
func parseCPU(text string) (time.Duration, error) {
	var sum time.Duration
	for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
		_, rest, ok := strings.Cut(text, name)
		if !ok {
			return 0, fmt.Errorf("no line %q", name)
		}
		line, _, _ := strings.Cut(rest, "\n")
		seconds, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			return 0, fmt.Errorf("the line %q: %w", name, err)
		}
		sum += time.Duration(seconds * float64(time.Second))
	}
	return sum, nil
}
