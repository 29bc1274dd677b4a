package servers

import (
	"slices"
)

// An Option requests servers that are not plain. Servers with any option except [WithOutages] are
// started for one test only, and removed with it.
type Option func(*spec)

// spec is what a rung must run.
type spec struct {
	kind Kind

	args     []string // of the command line, after the common ones
	password string   // of the default user; also what [Server.Do] uses
	user     *user    // the user with which tests connect, if it is not the default user
	tls      *authority
	aof      bool
	outages  bool
	alone    bool
	clock    bool
	dial     *clock // of the one server that is launched; nil unless clock
	sentinel bool
	files    map[string][]byte // by name, in the server's working folder
}

type user struct{ name, password string }

// plain reports whether all servers of this spec are alike and can be reused.
func (s *spec) plain() bool {
	return !s.alone && len(s.args) == 0 && s.password == "" && s.user == nil && s.tls == nil && !s.aof && !s.sentinel && !s.clock
}

// command returns the command line of a server that listens at port.
func (s *spec) command(port string) []string {
	cmd := []string{s.kind.program() + "-server"}
	if s.sentinel {
		cmd = append(cmd, "sentinel.conf", "--sentinel")
	}
	if s.tls != nil {
		cmd = append(cmd, "--port", "0", "--tls-port", port, "--tls-auth-clients", "yes",
			"--tls-ca-cert-file", "ca.crt", "--tls-cert-file", "server.crt", "--tls-key-file", "server.key")
	} else {
		cmd = append(cmd, "--port", port)
	}
	// With published ports, protected mode would reject every client.
	cmd = append(cmd, "--protected-mode", "no")
	if s.sentinel {
		return append(cmd, s.args...)
	}
	cmd = append(cmd, "--save", "", "--daemonize", "no")
	if s.aof {
		cmd = append(cmd, "--appendonly", "yes", "--appendfsync", "always")
	}
	if s.password != "" {
		cmd = append(cmd, "--requirepass", s.password)
	}
	return append(cmd, s.args...)
}

// peers returns the arguments with which a server with TLS reaches others of its group.
func (s *spec) peers() []string {
	if s.tls == nil {
		return nil
	}
	return []string{"--tls-replication", "yes", "--tls-client-cert-file", "client.crt", "--tls-client-key-file", "client.key"}
}

// WithOutages declares that the test pauses, kills, stops or restarts servers. The test is
// skipped at once if the servers were given.
func WithOutages() Option { return func(s *spec) { s.outages = true } }

// WithoutReuse gives the test servers that no other test uses, before or afterwards. So no
// clients of other tests, which may still clean up, reach them.
func WithoutReuse() Option { return func(s *spec) { s.alone = true } }

// WithAOF makes the servers keep their data over [Server.Kill], synced at every write. Without
// it, a server that was killed or stopped starts empty.
func WithAOF() Option { return func(s *spec) { s.aof = true } }

// WithPassword makes the default user's password password.
func WithPassword(password string) Option { return func(s *spec) { s.password = password } }

// WithUser adds a user with exactly these rules, in the form of an ACL file ("~lock:*", "+set").
// Rules that the server's version does not know are left out. [Server.URL] connects as that user.
// Only [Server.Do] and similar methods can connect as the default user.
func WithUser(name, password string, rules ...string) Option {
	return func(s *spec) {
		s.user = &user{name, password}
		s.password = adminPassword
		s.args = append(s.args, "--user", name, "on", ">"+password)
		s.args = append(s.args, s.kind.rules(rules)...)
	}
}

// adminPassword only prevents a test from connecting as the wrong user.
const adminPassword = "housekeeping"

// WithTLS makes the servers accept only TLS, with a certificate of an authority made for this
// process, and require a client certificate. [Server.TLSConfig] and [Server.TLSFiles] provide the
// client's part.
func WithTLS() Option {
	return func(s *spec) { s.tls = testAuthority() }
}

// WithArgs adds arguments to the servers' command line, for example "--maxmemory", "1mb".
func WithArgs(args ...string) Option {
	return func(s *spec) { s.args = append(s.args, args...) }
}

func newSpec(kind Kind, opts []Option) spec {
	s := spec{kind: kind, files: map[string][]byte{}}
	for _, opt := range opts {
		opt(&s)
	}
	if s.tls != nil {
		s.files["ca.crt"] = s.tls.ca
		s.files["server.crt"] = s.tls.serverCert
		s.files["server.key"] = s.tls.serverKey
		s.files["client.crt"] = s.tls.clientCert
		s.files["client.key"] = s.tls.clientKey
	}
	s.args = slices.Clip(s.args)
	return s
}
