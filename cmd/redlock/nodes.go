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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
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
  REDLOCK_NODES_FILE
                  as --nodes-file, if neither that nor --node is given
  REDLOCK_PASSWORD, REDLOCK_PASSWORD_FILE
                  the password for URLs without one, or a file as in --password-file
  REDLOCK_SENTINEL_PASSWORD, REDLOCK_SENTINEL_PASSWORD_FILE
                  the same for the sentinels of redis+sentinel:// URLs
  REDIS_HOST, REDIS_PORT, REDIS_DB
                  the only server, if none of the above names one; default localhost, 6379 and 0`

// nodeFlags are the flags of all commands that use servers.
type nodeFlags struct {
	urls    []string
	file    string // has URLs
	timeout time.Duration
	prefix  string
	quiet   bool

	passwordFile, sentinelPasswordFile string
	tls                                tlsFlags
}

// register adds the flags. limit says what else limits the node timeout.
func (f *nodeFlags) register(flags *pflag.FlagSet, limit string) {
	flags.StringArrayVarP(&f.urls, "node", "n", nil,
		"server that keeps the lock, as a `URL` such as redis://:password@host:6379/0, rediss://host (TLS), unix:///path/to.sock or just host:6379; valkey:// and valkeys:// (TLS) mean the same; "+
			"\"redlock help servers\" tells the forms for TLS, Sentinel and Cluster; "+
			"once for each of several independent servers, 3 or 5 of them, or once for all with commas between (default from the environment, else redis://localhost:6379/0)")
	flags.StringVar(&f.file, "nodes-file", "", "read the URLs of the servers from this `file`, one on each line; lines that begin with # are comments")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password for URLs without one")
	flags.StringVar(&f.sentinelPasswordFile, "sentinel-password-file", "", "`file` with the password of the sentinels")
	f.tls.register(flags)
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

// An environ returns the value of an environment variable, and whether it is set.
type environ func(name string) (value string, set bool)

// value returns the value of a variable, or "" if it is not set.
func (e environ) value(name string) string {
	value, _ := e(name)
	return value
}

// A source says where the URLs of the servers come from, for messages.
type source struct {
	name  string // of a flag or a variable
	file  string // that it names, if any
	lines []int  // of the URLs in that file
}

const (
	nodeFlag          = "--node"
	nodesFileFlag     = "--nodes-file"
	nodesVariable     = "REDLOCK_NODES"
	nodesFileVariable = nodesVariable + fileSuffix
)

// find returns the URLs of the servers.
func (f *nodeFlags) find(getenv environ) ([]string, source, error) {
	value := getenv.value
	switch {
	case len(f.urls) > 0 && f.file != "":
		return nil, source{}, errors.New("--node and --nodes-file are both given: give one of them")
	case len(f.urls) > 0:
		return strings.Split(strings.Join(f.urls, ","), ","), source{name: nodeFlag}, nil
	case f.file != "":
		return findInFile(nodesFileFlag, f.file)
	}
	list := strings.FieldsFunc(value(nodesVariable), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r'
	})
	file := value(nodesFileVariable)
	switch {
	case len(list) > 0 && file != "":
		// They may name different servers, and then a lock would exclude nobody.
		return nil, source{}, errors.New("REDLOCK_NODES and REDLOCK_NODES_FILE are both set: unset one of them")
	case len(list) > 0:
		return list, source{name: nodesVariable}, nil
	case file != "":
		return findInFile(nodesFileVariable, file)
	}
	for _, name := range []string{nodesVariable, nodesFileVariable} {
		if _, set := getenv(name); set {
			return nil, source{}, errors.New(name + " is set, but names no server: name the servers there, or unset it")
		}
	}
	if value(withheldVariable) != "" {
		// Do not fall back to another server: a lock there would exclude nobody.
		return nil, source{}, errors.New("no server is given: the outer redlock run has not passed REDLOCK_NODES on, " +
			"because it or REDLOCK_PASSWORD may contain a password (give the outer run --pass-nodes, or this command --node)")
	}
	host, port, db := value("REDIS_HOST"), value("REDIS_PORT"), value("REDIS_DB")
	if u, err := url.Parse(port); err == nil && u.Scheme == "tcp" {
		// Kubernetes sets this for a service named redis.
		host, port = cmp.Or(host, u.Hostname()), u.Port()
	}
	host, port, db = cmp.Or(host, "localhost"), cmp.Or(port, "6379"), cmp.Or(db, "0")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, source{}, errors.New("REDIS_PORT is no port number from 0 to 65535")
	}
	if _, err := strconv.ParseUint(db, 10, 31); err != nil {
		return nil, source{}, errors.New("REDIS_DB is no database number from 0")
	}
	if _, err := netip.ParseAddr(host); err != nil && (strings.Contains(host, ":") || !backend.PlainAddress(host)) {
		return nil, source{}, errors.New("REDIS_HOST is no host name: a port belongs into REDIS_PORT, and a URL into REDLOCK_NODES")
	}
	return []string{"redis://" + net.JoinHostPort(host, port) + "/" + db}, source{name: "REDIS_HOST"}, nil
}

// findInFile returns the URLs in the file that name, a flag or a variable, names.
func findInFile(name, file string) ([]string, source, error) {
	urls, lines, err := readNodesFile(file)
	return urls, source{name, file, lines}, fromFile(name, err)
}

// entryURL returns the URL for an entry in the list of servers.
func entryURL(entry string) (string, error) {
	entry = strings.TrimSpace(entry)
	switch {
	case entry == "":
		return "", errors.New("an empty URL")
	case strings.Contains(entry, "://"):
		scheme, rest, _ := strings.Cut(entry, "://")
		switch name, kind, _ := strings.Cut(strings.ToLower(scheme), "+"); name {
		case "valkey", "valkeys":
			scheme = "redis" + strings.TrimPrefix(name, "valkey")
			if kind != "" {
				scheme += "+" + kind
			}
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
	switch {
	case s.lines != nil:
		return fmt.Errorf("%s: %q, line %d: %s", s.name, s.file, s.lines[i], said)
	case of == 1:
		return fmt.Errorf("%s: %s", s.name, said)
	case s.name == nodesVariable:
		said += " (a comma or a space begins another entry: in a password, write , as %2C and a space as %20)"
	case s.name == nodeFlag:
		said += " (a comma begins another entry: in a password, write , as %2C)"
	}
	return fmt.Errorf("%s: entry %d of %d: %s", s.name, i+1, of, said)
}

// A connection is a Locker and its clients.
type connection struct {
	locker  *redlock.Locker
	clients []redis.UniversalClient
	names   []string
	ids     []string // texts that identify the servers
}

// connect makes a Locker for the servers in the flags and the environment. It reads the
// files that they name, and does no other I/O. Its errors are about what the user has
// specified.
func (f *nodeFlags) connect(getenv environ, opts ...redlock.Option) (*connection, error) {
	urls, from, err := f.find(getenv)
	if err != nil {
		return nil, err
	}
	d := defaults{tls: f.tls}
	if d.password, err = (secret{"password-file", f.passwordFile, passwordVariable}).read(getenv.value); err != nil {
		return nil, err
	}
	if d.sentinelPassword, err = (secret{"sentinel-password-file", f.sentinelPasswordFile, sentinelPasswordVariable}).read(getenv.value); err != nil {
		return nil, err
	}
	if err := f.tls.check(); err != nil {
		return nil, err
	}
	silenceDriver()
	c := &connection{}
	var nodes []backend.Node
	secure := false
	for i, entry := range urls {
		u, err := parseEntry(entry, d)
		var client redis.UniversalClient
		if err == nil {
			client, err = goredis.NewFromURL(u)
		}
		if err != nil {
			return nil, from.entryError(i, len(urls), err)
		}
		secure = secure || u.TLS
		node := goredis.New(client, goredis.WithName(nodeName(u)))
		c.clients = append(c.clients, client)
		c.names = append(c.names, node.Name())
		c.ids = append(c.ids, identity(u))
		nodes = append(nodes, node)
	}
	if used := f.tls.used(); used != "" && !secure {
		return nil, fmt.Errorf("--%s has no effect, because no server is reached over TLS: write rediss:// instead of redis://", used)
	}
	opts = append(opts, redlock.WithKeyPrefix(f.prefix))
	if c.locker, err = redlock.New(nodes, opts...); err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "redlock: "))
	}
	return c, nil
}

// defaults are used for a server if its URL does not say otherwise.
type defaults struct {
	password, sentinelPassword string
	tls                        tlsFlags
}

// parseEntry parses an entry in the list of servers, and fills in the defaults.
func parseEntry(entry string, d defaults) (adapterkit.URL, error) {
	raw, err := entryURL(entry)
	if err != nil {
		return adapterkit.URL{}, err
	}
	u, err := adapterkit.ParseURL(raw)
	if err != nil {
		return adapterkit.URL{}, fmt.Errorf("the URL %w", err)
	}
	if u.Password == "" && u.PasswordFile == "" {
		u.Password = d.password
	}
	if u.MasterName != "" && u.SentinelPassword == "" && u.SentinelPasswordFile == "" {
		u.SentinelPassword = d.sentinelPassword
	}
	if u.TLS {
		d.tls.fill(&u)
	}
	return u, nil
}

// several is in the name of a node that is more than one server, before their addresses.
const several = " of "

// nodeName returns the name of the node at u for messages, or "" for its address. It is
// the same whatever the order of addresses is, so that no node votes twice.
func nodeName(u adapterkit.URL) string {
	name := u.MasterName
	switch {
	case u.Cluster:
		name = "Cluster"
	case name == "":
		return ""
	}
	return name + several + strings.Join(slices.Sorted(slices.Values(u.Addresses)), ",")
}

// identity returns a text that identifies what u leads to. It is the same whatever the
// order of addresses is.
func identity(u adapterkit.URL) string {
	addresses := strings.Join(slices.Sorted(slices.Values(u.Addresses)), ",")
	switch {
	case u.Cluster:
		return "cluster " + addresses
	case u.MasterName != "":
		return fmt.Sprintf("sentinel %s %s %d", u.MasterName, addresses, u.DB)
	}
	return fmt.Sprintf("%s %s %d", u.Network, u.Address, u.DB)
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
func (c *connection) servers() []string { return c.ids }

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
