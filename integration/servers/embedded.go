package servers

import (
	"context"

	"github.com/alicebob/miniredis/v2"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/internal/port"
)

// embedded is the rung of servers within the test's process.
type embedded struct{}

func openEmbedded(context.Context, settings) (rung, string, error) {
	return embedded{}, string(Embedded) + " within the test's process", nil
}

func (embedded) kinds() []Kind { return []Kind{Embedded} }

func (embedded) supports(s *spec) error {
	if !s.plain() {
		return unsupported("embedded servers have no options")
	}
	return nil
}

func (embedded) group(context.Context, Kind, []int) (group, error) {
	return nil, unsupported("embedded servers are no Sentinel set or Cluster")
}

func (embedded) close() {}

// A mini is an embedded server. Its clients see only the proxy in front of it, so holding the
// traffic there works like pausing the server.
type mini struct {
	server *miniredis.Miniredis
	port   int // behind the proxy
	proxy  *netfault.Proxy
}

func (embedded) launch(_ context.Context, _ *spec, p int, _ group) (machine, error) {
	behind, err := port.Take()
	if err != nil {
		return nil, err
	}
	m := &mini{port: behind}
	if err := m.run(); err != nil {
		return nil, errPortTaken
	}
	if m.proxy, err = netfault.StartAt(p, port.Addr(behind)); err != nil {
		m.server.Close()
		return nil, errPortTaken
	}
	return m, nil
}

func (m *mini) run() error {
	m.server = miniredis.NewMiniRedis()
	m.server.ClockTTL(true) // otherwise keys never expire
	return m.server.StartAddr(port.Addr(m.port))
}

func (m *mini) pause(context.Context) error {
	m.proxy.Hold()
	return nil
}

func (m *mini) resume(context.Context) error { return m.proxy.Resume() }

func (m *mini) kill(context.Context) error {
	m.proxy.Refuse()
	m.server.Close()
	return nil
}

func (m *mini) stop(ctx context.Context) error { return m.kill(ctx) }

func (m *mini) start(context.Context) error {
	if err := m.run(); err != nil {
		return err
	}
	return m.proxy.Resume()
}

func (m *mini) remove(context.Context) error {
	m.proxy.Close()
	m.server.Close()
	port.Give(m.port)
	return nil
}

func (m *mini) gone(context.Context) error { return nil }
