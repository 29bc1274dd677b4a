package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/redlock"
)

// defaultNodeTimeout is longer than the library's, because a tool that runs once must
// open its connections first.
const defaultNodeTimeout = time.Second

const nodesEnvironment = `  REDLOCK_NODES   the servers if no --node is given: URLs with commas or spaces between. Passwords
                  belong here, because other users can see a command line.
                  In a password, write @ as %40, / as %2F, ? as %3F, # as %23, % as %25,
                  a comma as %2C and a space as %20
  REDIS_HOST, REDIS_PORT, REDIS_DB
                  the one server where neither is given; default localhost, 6379 and 0`

// nodeFlags are the flags of all commands that use servers.
type nodeFlags struct {
	urls    []string
	timeout time.Duration
	prefix  string
	quiet   bool
}

// register adds the flags. limit says what else limits the node timeout.
func (f *nodeFlags) register(flags *pflag.FlagSet, limit string) {
	flags.StringArrayVarP(&f.urls, "node", "n", nil,
		"server that keeps the lock, as a `URL` such as redis://:password@host:6379/0, rediss://host (TLS), unix:///path/to.sock or just host:6379; valkey:// and valkeys:// (TLS) mean the same; "+
			"once for each of several independent servers, 3 or 5 of them, or once for all with commas between (default from the environment, else redis://localhost:6379/0)")
	durationVar(flags, &f.timeout, "node-timeout", defaultNodeTimeout,
		"how long to wait for a server before it counts as down"+limit)
	flags.StringVar(&f.prefix, "prefix", "", "put this in front of the name to make the key on the servers")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no messages on stderr, only the exit code (wrong usage is still explained)")
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "redis" { // the name in the Python tool of the same name
			name = "node"
		}
		return pflag.NormalizedName(name)
	})
}

// A source says where the URLs of the servers come from, for messages.
type source string

const (
	nodeFlag      source = "--node"
	nodesVariable source = "REDLOCK_NODES"
)

// find returns the URLs of the servers.
func (f *nodeFlags) find(getenv func(string) string) ([]string, source, error) {
	if len(f.urls) > 0 {
		return strings.Split(strings.Join(f.urls, ","), ","), nodeFlag, nil
	}
	if list := strings.FieldsFunc(getenv(string(nodesVariable)), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r'
	}); len(list) > 0 {
		return list, nodesVariable, nil
	}
	if getenv(withheldVariable) != "" {
		// Do not fall back to another server: a lock there would exclude nobody.
		return nil, "", errors.New("no server is given, because the redlock run around this one has not passed REDLOCK_NODES on, which may contain a password: " +
			"give that one --pass-nodes, or this one --node")
	}
	host, port, db := getenv("REDIS_HOST"), getenv("REDIS_PORT"), getenv("REDIS_DB")
	if u, err := url.Parse(port); err == nil && u.Scheme == "tcp" {
		// Kubernetes sets this for a service named redis.
		host, port = cmp.Or(host, u.Hostname()), u.Port()
	}
	host, port, db = cmp.Or(host, "localhost"), cmp.Or(port, "6379"), cmp.Or(db, "0")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, "", errors.New("REDIS_PORT is no port number from 0 to 65535")
	}
	if _, err := strconv.ParseUint(db, 10, 31); err != nil {
		return nil, "", errors.New("REDIS_DB is no database number from 0")
	}
	if _, err := netip.ParseAddr(host); err != nil && (strings.Contains(host, ":") || !backend.PlainAddress(host)) {
		return nil, "", errors.New("REDIS_HOST is no host name: a port belongs into REDIS_PORT, and a URL into REDLOCK_NODES")
	}
	return []string{"redis://" + net.JoinHostPort(host, port) + "/" + db}, "REDIS_HOST", nil
}

// entryURL returns the URL for an entry in the list of servers.
func entryURL(entry string) (string, error) {
	entry = strings.TrimSpace(entry)
	switch {
	case entry == "":
		return "", errors.New("an empty URL")
	case strings.Contains(entry, "://"):
		scheme, rest, _ := strings.Cut(entry, "://")
		switch strings.ToLower(scheme) {
		case "valkey":
			scheme = "redis"
		case "valkeys":
			scheme = "rediss"
		}
		return scheme + "://" + rest, nil
	case strings.Contains(entry, "@"):
		// This may be the end of a URL whose password contains a comma.
		return "", errors.New("the URL has an @ and no scheme: write redis://USER:PASSWORD@HOST:PORT")
	}
	return "redis://" + entry, nil
}

// entryError adds to err which of several entries it is about. It names the entry by its
// position, because the entry may contain a password.
func (s source) entryError(i, of int, err error) error {
	said := strings.TrimPrefix(err.Error(), "goredis: ")
	if of == 1 {
		return fmt.Errorf("%s: %s", s, said)
	}
	switch s {
	case nodesVariable:
		said += " (a comma or a space begins another entry: in a password, write , as %2C and a space as %20)"
	case nodeFlag:
		said += " (a comma begins another entry: in a password, write , as %2C)"
	}
	return fmt.Errorf("%s: entry %d of %d: %s", s, i+1, of, said)
}

// A connection is a Locker and its clients.
type connection struct {
	locker  *redlock.Locker
	clients []*redis.Client
	names   []string
}

// connect makes a Locker for the servers in the flags and the environment. It does no
// I/O. Its errors are about what the user has specified.
func (f *nodeFlags) connect(getenv func(string) string, opts ...redlock.Option) (*connection, error) {
	urls, from, err := f.find(getenv)
	if err != nil {
		return nil, err
	}
	silenceDriver()
	c := &connection{}
	var nodes []backend.Node
	for i, u := range urls {
		u, err := entryURL(u)
		var client *redis.Client
		if err == nil {
			client, err = goredis.NewClient(u)
		}
		if err != nil {
			return nil, from.entryError(i, len(urls), err)
		}
		node := goredis.New(client)
		c.clients = append(c.clients, client)
		c.names = append(c.names, node.Name())
		nodes = append(nodes, node)
	}
	opts = append(opts, redlock.WithKeyPrefix(f.prefix))
	if c.locker, err = redlock.New(nodes, opts...); err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "redlock: "))
	}
	return c, nil
}

// close waits up to patience for deletions on slow servers, and reports whether all are
// done. What is not deleted expires.
func (c *connection) close(patience time.Duration) (clean bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := c.locker.Close(ctx)
	for _, client := range c.clients {
		_ = client.Close()
	}
	return err == nil
}

// servers returns texts that identify the servers.
func (c *connection) servers() []string {
	var servers []string
	for _, client := range c.clients {
		o := client.Options()
		servers = append(servers, fmt.Sprintf("%s %s %d", o.Network, o.Addr, o.DB))
	}
	return servers
}

// owner returns the default label, which tells others who holds a lock.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return strings.TrimLeft(host, "~") + ":" + strconv.Itoa(os.Getpid())
}

// silenceDriver stops go-redis from logging failed dials, because the errors report them
// too. It sets the driver's logger only once, because a goroutine of an earlier client
// may read it.
var silenceDriver = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
