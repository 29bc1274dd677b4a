package testnodes

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/proto"
)

var (
	Votes  = Running(lua.Vote)
	Raises = Running(lua.Raise)
)

func Running(script *backend.Script) func(backend.Op) bool {
	return func(op backend.Op) bool { return op.Script == script }
}

// Counters returns where the counters of key stand.
func Counters(mem []*memory.Node, key string) []int64 {
	var counters []int64
	name, _ := proto.CounterKey(key)
	for i := range mem {
		c, _ := strconv.ParseInt(valueOf(mem[i], name), 10, 64)
		counters = append(counters, c)
	}
	return counters
}

// Count sets the counters of key on the nodes.
func Count(mem []*memory.Node, key string, counters ...int64) {
	name, _ := proto.CounterKey(key)
	for i, c := range counters {
		mem[i].Set(name, strconv.FormatInt(c, 10), time.Hour)
	}
}

// Tombstones returns how many tombstones there are for key on a node.
func Tombstones(mem *memory.Node, key string) int {
	n := 0
	prefix, _ := proto.TombstoneKey(key, "")
	for _, k := range mem.Keys() {
		if strings.HasPrefix(k, prefix) {
			n++
		}
	}
	return n
}

func valueOf(mem *memory.Node, key string) string {
	e, _ := mem.Inspect(context.Background(), key)
	return e.Value
}
