package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/quorumlock/quorumlock/internal/text"
)

// pings is the number of round trips that are measured.
const pings = 9

// connect sends the first command, which opens the connection and is not measured, and
// then measures round trips.
func (f *facts) connect(ctx context.Context) {
	if f.connectErr = f.ping(ctx); f.connectErr != nil {
		return
	}
	for range pings {
		start := time.Now()
		if f.ping(ctx) != nil {
			break
		}
		f.trips = append(f.trips, time.Since(start))
	}
	slices.Sort(f.trips)
}

// ping makes a round trip. A user without the right to PING has made one too, and so has
// one to whom the server says that it cannot save its data.
func (f *facts) ping(ctx context.Context) error {
	_, err := f.ask(ctx, "PING")
	if c := code(err); c == "NOPERM" || c == "MISCONF" {
		return nil
	}
	return err
}

func checkConnection(f *facts, _ *examination) verdict {
	switch {
	case f.silent != nil && f.connectErr != nil:
		return fail(unreachable, "no answer: %v", f.silent)
	case f.connectErr != nil:
		return diagnose(f.connectErr)
	case f.silent != nil:
		return fail("See what holds the server up, for example with SLOWLOG GET and in its log", "it answered at first, and then %v", f.silent)
	}
	return fine("it answers")
}

const unreachable = "Check the address, firewalls between, and that either both sides use TLS or none"

// diagnose returns why no command can be sent to a server.
func diagnose(err error) verdict {
	const (
		connection, tlsCheck, auth = "connection", "tls", "auth"

		running = "Start the server, or correct its address"
	)
	var (
		dns      *net.DNSError
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		noTLS    tls.RecordHeaderError
		words    = text.Line(err.Error())
		is       = func(check string, v verdict) verdict { v.check = check; return v }
		contains = func(s string) bool { return strings.Contains(err.Error(), s) }
	)
	switch code(err) {
	case "NOAUTH":
		return is(auth, fail("Give the client a password, and a user if the server has users", "the server demands a password, and the client sent none"))
	case "WRONGPASS":
		return is(auth, fail("Correct the user or the password, and check that the user is on (ACL LIST)", "the server rejects the user or the password"))
	case "LOADING":
		return is(connection, fail("Wait until the server has loaded its data", "the server is loading its data"))
	case "BUSY":
		return is(connection, fail("End the script with SCRIPT KILL", "a script has been running on the server for too long"))
	case "DENIED":
		return is(connection, fail("Set a password for the default user, or protected-mode no", "the server accepts clients of its own machine only (protected-mode)"))
	case "MASTERDOWN":
		return is("role", fail("Name the master", "it is a replica that has lost its master"))
	case "ERR":
		switch {
		case contains("max number of clients"):
			return is("maxclients", fail("Raise maxclients, or find out which clients keep connections (CLIENT LIST)", "the server accepts no more clients"))
		case contains("invalid password"), contains("ERR AUTH"), contains("Client sent AUTH"):
			return is(auth, fail("Correct the password, or leave it out if the server has none", "the server rejects the password: %s", words))
		}
	}
	switch {
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify):
		return is(tlsCheck, fail("Let the client trust the authority that signed the certificate, and use a host name that is in the certificate",
			"the certificate of the server is not accepted: %s", words))
	case errors.As(err, &noTLS), contains("first record does not look like a TLS handshake"):
		return is(tlsCheck, fail("Connect without TLS, or to the TLS port of the server", "the server does not speak TLS on this port"))
	case contains("tls: "):
		return is(tlsCheck, fail("Check the certificate and the key that the client presents, and the TLS versions of both", "the TLS handshake failed: %s", words))
	case errors.Is(err, syscall.ECONNREFUSED):
		return is(connection, fail(running, "connection refused"))
	case errors.Is(err, syscall.ENOENT):
		return is(connection, fail(running, "there is no such socket"))
	case errors.As(err, &dns):
		return is(connection, fail("Correct the host name", "the host name is unknown"))
	case contains("EOF"), errors.Is(err, syscall.ECONNRESET):
		return is(connection, fail("Connect with TLS if the server expects it, and with a client certificate if it demands one; otherwise see the server's log", "the server closed the connection"))
	}
	return is(connection, fail(unreachable, "the connection failed: %s", words))
}

// A lock, or an extension, takes one round trip within the node timeout, and with a
// fencing token sometimes two. So at half the node timeout a little more load makes the
// server count as down, and at all of it the server counts as down at every second call.
const slowShare = 2 // warning if the worst trip takes longer than 1/slowShare of the node timeout

func checkLatency(f *facts, x *examination) verdict {
	if len(f.trips) == 0 {
		return notChecked(errors.New("PING failed"))
	}
	median, worst := f.trips[len(f.trips)/2], f.trips[len(f.trips)-1]
	what := fmt.Sprintf("round trips take %v (median) and %v (worst of %d); the node timeout is %v", short(median), short(worst), len(f.trips), x.NodeTimeout)
	switch {
	case median > x.NodeTimeout:
		return fail("Raise the node timeout and the TTL, or bring server and client closer together", "%s", what)
	case worst > x.NodeTimeout/slowShare:
		return warn("Raise the node timeout, or find out what slows down the network or the server", "%s", what)
	}
	return fine("%s", what)
}

// short returns d with about three digits.
func short(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit || d <= -unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
