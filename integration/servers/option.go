package servers

import (
	"slices"
)

// An Option says what servers a test needs beyond plain ones. Servers with any
// option but [WithOutages] are started for the test alone, and removed with it.
type Option func(*spec)

// spec is what a rung is to run.
type spec struct {
	kind Kind

	args     []string // of the command line, after the common ones
	password string   // of the default user; also what [Server.Do] uses
	user     *user    // the one that tests are to connect as, if not the default
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

// plain tells whether servers of this spec are all alike, and may be used again.
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
	// Published ports make every client a stranger to protected mode.
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

// WithOutages says that the test pauses, kills, stops or restarts servers. It is
// skipped at once where they are not ours to do so.
func WithOutages() Option { return func(s *spec) { s.outages = true } }

// WithoutReuse gives the test servers that no other test has had or will have, so
// that nobody else's clients, which may still be cleaning up, reach them.
func WithoutReuse() Option { return func(s *spec) { s.alone = true } }

// WithAOF makes the servers keep their data over [Server.Kill], synced with every
// write. Without it a server that was killed or stopped comes back empty.
func WithAOF() Option { return func(s *spec) { s.aof = true } }

// WithPassword makes the default user's password password.
func WithPassword(password string) Option { return func(s *spec) { s.password = password } }

// WithUser adds a user who may do what rules allow and nothing else, written as in
// an ACL file ("~lock:*", "+set"), without those that the server's version does not
// know. [Server.URL] connects as that user, and nobody
// can connect as the default user but [Server.Do] and the like.
func WithUser(name, password string, rules ...string) Option {
	return func(s *spec) {
		s.user = &user{name, password}
		s.password = adminPassword
		s.args = append(s.args, "--user", name, "on", ">"+password)
		s.args = append(s.args, s.kind.rules(rules)...)
	}
}

// adminPassword guards nothing but against a test that connects as the wrong user.
const adminPassword = "housekeeping"

// WithTLS makes the servers speak TLS alone, with a certificate of an authority
// made for this process, and demand one of clients. [Server.TLSConfig] and
// [Server.TLSFiles] have the client's part.
func WithTLS() Option {
	return func(s *spec) { s.tls = testAuthority() }
}

// WithArgs adds to the servers' command line, as in "--maxmemory", "1mb".
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
	}
	s.args = slices.Clip(s.args)
	return s
}
