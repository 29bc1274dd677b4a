package main

import "github.com/spf13/cobra"

// newServers returns a topic of the help. It is no command.
func newServers() *cobra.Command {
	return &cobra.Command{
		Use:   "servers",
		Short: "How to name servers",
		Long: `A server that keeps locks is named by a URL, in --node, --nodes-file, REDLOCK_NODES or
REDLOCK_NODES_FILE:

  redis://USER:PASSWORD@HOST:6379/0     HOST, HOST:PORT and redis://:PASSWORD@HOST will do
  rediss://HOST:6379                    with TLS
  unix:///path/to.sock?db=0
  redis+sentinel://HOST:26379/0?master_name=NAME&addr=HOST:26379&addr=HOST:26379
                                        the master that the sentinels name
  redis+cluster://HOST:6379?addr=HOST:6379&addr=HOST:6379
                                        a Cluster; it finds the other servers

rediss+sentinel:// and rediss+cluster:// use TLS, and valkey means the same as redis
everywhere. A Sentinel set or a Cluster counts as one server. It may lose a lock when a
replica takes over, which several independent servers do not. In a shell, put URLs with
a & or a ? into quotes.

These may follow in the URL after a ?, with a & between. A flag of the same name, such
as --tls-ca, is for all URLs that do not say otherwise:

  tls_ca=FILE                           whom to trust, in PEM; default this system's
  tls_cert=FILE&tls_key=FILE            the client's certificate and its key, in PEM
  tls_server_name=NAME                  the name in the server's certificate
  password_file=FILE                    the password, in a file
  sentinel_username=USER, sentinel_password=PASSWORD, sentinel_password_file=FILE
                                        for the sentinels, which do not use the master's
  db, dial_timeout, read_timeout, …     the settings that go-redis takes from a URL

A list of servers in a file has one URL on each line. Lines that begin with # are
comments. If it contains a password, other users must not be able to read it. A file
with a password has nothing else in it.`,
		DisableFlagsInUseLine: true,
	}
}
