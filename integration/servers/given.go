package servers

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// given is the rung of servers that the environment names.
type given struct {
	kind    Kind
	servers []*Server
}

func openGiven(ctx context.Context, env settings) (rung, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var g given
	for addr := range strings.SplitSeq(env.addrs, ",") {
		s := &Server{addr: strings.TrimSpace(addr)}
		for _, other := range g.servers {
			if other.addr == s.addr {
				return nil, "", fmt.Errorf("%s is listed twice", addr)
			}
		}
		info, err := s.Query(ctx, "INFO", "server")
		if err != nil {
			return nil, "", err
		}
		kind, ok := kindOf(fmt.Sprint(info))
		if !ok {
			return nil, "", fmt.Errorf("%s is neither Redis nor Valkey nor KeyDB", s.addr)
		}
		if g.kind != "" && kind != g.kind {
			return nil, "", fmt.Errorf("%s is %s, but %s is %s", g.servers[0].addr, g.kind, s.addr, kind)
		}
		// A server that was named by mistake does not lose its data.
		if n, err := s.Query(ctx, "DBSIZE"); err != nil || n != int64(0) {
			return nil, "", fmt.Errorf("%s is not empty: %v keys, %v", s.addr, n, err)
		}
		g.kind, s.kind, s.spec.kind = kind, kind, kind
		g.servers = append(g.servers, s)
	}
	return &g, fmt.Sprintf("%d of %s", len(g.servers), g.kind), nil
}

func (g *given) kinds() []Kind { return []Kind{g.kind} }

func (g *given) supports(s *spec) error {
	if !s.plain() || s.outages {
		return unsupported("given servers are taken as they are, and are not paused or killed")
	}
	return nil
}

func (g *given) launch(context.Context, *spec, int, group) (machine, error) {
	return nil, unsupported(fmt.Sprintf("only %d addresses were given, or they are in use", len(g.servers)))
}

func (g *given) group(context.Context, Kind, []int) (group, error) {
	return nil, unsupported("given servers are no Sentinel set or Cluster")
}

func (g *given) close() {}
