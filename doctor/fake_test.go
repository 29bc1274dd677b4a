package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// A fake is a server that answers as it is told. Its node keeps locks in memory.
type fake struct {
	name   string
	node   backend.Node
	info   map[string]string // nil: no right to INFO
	config map[string]string // nil: no right to CONFIG
	keys   map[string]string // strings; what begins with "!" is an error
	denied []string          // commands
	fails  map[string]error  // by command
	clock  time.Duration     // ahead of ours

	mu   sync.Mutex
	sent []string
}

func healthyFake(name string) *fake {
	return &fake{
		name: name,
		node: memory.New(memory.WithName(name)),
		info: map[string]string{
			"redis_version": "7.0.15", "redis_mode": "standalone", "run_id": "run-of-" + name, "uptime_in_seconds": "1000",
			"role": "master", "connected_slaves": "0", "aof_enabled": "1", "rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok",
			"aof_last_bgrewrite_status": "ok", "maxmemory_policy": "noeviction", "used_memory": "1000000", "maxmemory": "0",
			"total_system_memory": "8000000000", "connected_clients": "3", "maxclients": "10000",
		},
		config: map[string]string{
			"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory": "0", "maxmemory-policy": "noeviction",
			"maxclients": "10000", "timeout": "0", "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
		},
		keys:  map[string]string{},
		fails: map[string]error{},
	}
}

func (f *fake) server() Server { return Server{Name: f.name, Do: f.do, Node: f.node} }

func servers(fakes ...*fake) []Server {
	var all []Server
	for _, f := range fakes {
		all = append(all, f.server())
	}
	return all
}

var errNoPermission = errors.New("NOPERM User x has no permissions to run the command")

func (f *fake) do(ctx context.Context, args ...any) (any, error) {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a.(string)
	}
	f.mu.Lock()
	f.sent = append(f.sent, strings.Join(words[:min(len(words), 2)], " "))
	f.mu.Unlock()
	if err := f.fails[words[0]]; err != nil {
		return nil, err
	}
	if slices.Contains(f.denied, words[0]) {
		return nil, errNoPermission
	}
	switch words[0] {
	case "PING":
		return "PONG", nil
	case "SET":
		return "OK", nil
	case "INFO":
		if f.info == nil {
			return nil, errNoPermission
		}
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(f.info)) {
			fmt.Fprintf(&b, "%s:%s\r\n", name, f.info[name])
		}
		return "# Server\r\n" + b.String(), nil
	case "CONFIG":
		if f.config == nil {
			return nil, errNoPermission
		}
		if v, ok := f.config[words[2]]; ok {
			return []any{words[2], v}, nil
		}
		return []any{}, nil
	case "TIME":
		now := time.Now().Add(f.clock)
		return []any{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)}, nil
	case "EVALSHA":
		return nil, errors.New("NOSCRIPT No matching script")
	case "EVAL":
		return f.eval(ctx, words)
	case "SCAN":
		var keys []any
		for key := range f.keys {
			keys = append(keys, key)
		}
		return []any{"0", keys}, nil
	case "DEL":
		return int64(1), nil
	}
	return nil, fmt.Errorf("ERR unknown command '%s'", words[0])
}

func (f *fake) eval(ctx context.Context, words []string) (any, error) {
	switch words[1] {
	case "return 1":
		return int64(1), nil
	case lua.Echo.Source():
		scripter, _ := backend.As[backend.Scripter](f.node)
		r, err := scripter.Eval(ctx, lua.Echo, words[3:4], words[4:])
		return []any(r), err
	case script:
	default:
		return nil, errors.New("ERR a script that the test does not know")
	}
	number, _ := strconv.Atoi(words[2])
	var answers []any
	for args := words[3+number:]; len(args) > 0; {
		n, _ := strconv.Atoi(args[0])
		answers = append(answers, f.run(args[1:1+n]))
		args = args[1+n:]
	}
	return answers, nil
}

// run returns what the script answers for one command.
func (f *fake) run(command []string) string {
	if slices.Contains(f.denied, command[0]) {
		return "-ERR The user executing the script can't run this command or subcommand"
	}
	if err := f.fails["script "+command[0]]; err != nil {
		return "-" + err.Error()
	}
	if command[0] == "GET" || command[0] == "ZCARD" {
		value := f.keys[command[1]]
		if why, failed := strings.CutPrefix(value, "!"); failed {
			return "-" + why
		}
		return "+" + value
	}
	return "+"
}

const marker = "redlock:marker"

// markerOf returns the marker that f has if its quarantine began at since.
func markerOf(f *fake, since int64) string {
	return fmt.Sprintf("%s %d", f.info["run_id"], since)
}
