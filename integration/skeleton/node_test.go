package skeleton

import (
	"os"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/integration/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

func TestNode(t *testing.T) {
	server := servers.Start(t, servers.Any, 1)[0]
	backendtest.Run(t, backendtest.NewHarness(t, server.Addr(), func(addr string) backend.Node {
		client := NewClient(addr)
		t.Cleanup(client.Close)
		return &Node{client: client}
	}))
}

// The guide shows exactly the code that is tested here, from the type on.
func TestDocumented(t *testing.T) {
	guide, err := os.ReadFile("../../docs/adapters.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("node.go")
	if err != nil {
		t.Fatal(err)
	}
	const begin = "// A Node locks on the server of a client.\n"
	_, code, ok := strings.Cut(string(source), begin)
	if !ok {
		t.Fatalf("node.go has no line %q", begin)
	}
	if !strings.Contains(string(guide), "```go\n"+begin+code+"```\n") {
		t.Error("docs/adapters.md does not show the current node.go")
	}
}
