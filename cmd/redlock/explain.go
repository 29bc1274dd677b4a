package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A complaint says in a few words what is wrong with a server, and what to do about it if
// that is known.
type complaint struct{ what, remedy string }

// complain shortens the error of a server. Errors of the driver are too long.
func complain(err error, waited time.Duration) complaint {
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return complaint{"connection refused", "is Redis running there? --node or REDLOCK_NODES names another server"}
	case errors.Is(err, syscall.ENOENT):
		return complaint{"no such socket", "is Redis running there? --node or REDLOCK_NODES names another server"}
	case errors.As(err, &dns):
		return complaint{"unknown host", "check the host name in --node or REDLOCK_NODES"}
	case errors.As(err, &unknown), errors.As(err, &name):
		return complaint{err.Error(), "the server's certificate must be one that this system trusts (SSL_CERT_FILE names more), for the host in the URL"}
	case err == nil, errors.Is(err, context.DeadlineExceeded), strings.HasPrefix(err.Error(), "not sent: the node does not answer"):
		what := "no answer"
		if waited > 0 {
			what += " within " + round(waited)
		}
		return complaint{what, "is the address right, and redis:// or rediss://? is there a firewall? --node-timeout allows more time"}
	}
	text := strings.TrimPrefix(err.Error(), "not sent: the node has just failed: ") // the line already says that
	if _, said, ok := strings.Cut(text, "could not release it (allow EVAL and EVALSHA, and in scripts GET and DEL): "); ok {
		text = said // the advice below names all rights
	}
	code, _, _ := strings.Cut(text, " ")
	switch {
	case code == "NOAUTH":
		return complaint{"it wants a password", "put it into the URL, redis://:PASSWORD@HOST:PORT, and that into REDLOCK_NODES"}
	case code == "WRONGPASS", strings.HasPrefix(text, "ERR invalid password"), strings.HasPrefix(text, "ERR AUTH"), strings.HasPrefix(text, "ERR Client sent AUTH"):
		return complaint{"wrong user or password", "check them in the URL; special characters are written as %XX there"}
	case code == "NOPERM", strings.HasPrefix(text, "ERR ACL failure in script"), strings.HasPrefix(text, "ERR The user executing the script can't run"):
		return complaint{text, "the user needs more rights: +set +eval +evalsha +get +del +pttl +pexpire on the key; " +
			"for a fencing token +exists +time +persist besides, for a quarantine +info +time"}
	case code == "NORUNID":
		return complaint{"it does not tell its run_id (INFO server)", "it cannot have a --quarantine, or the user needs +info"}
	case code == "READONLY":
		return complaint{"it is a replica, which cannot keep locks", "name the master"}
	case code == "WRONGTYPE":
		return complaint{"the key is in use for something else", "take another name, or a --prefix"}
	case strings.HasPrefix(text, "ERR unknown command"):
		return complaint{text, "is it a Sentinel? name the master"}
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return complaint{"it does not speak TLS", "write redis:// instead of rediss://"}
	case strings.Contains(text, "EOF"), errors.Is(err, syscall.ECONNRESET):
		return complaint{"it closed the connection", "if it speaks TLS, write rediss:// instead of redis://"}
	}
	return complaint{what: text}
}

// A trouble is the list of what is wrong with servers.
type trouble struct {
	size, need int // need is 0 if each server is asked on its own
	servers    []string
	complaints []complaint
}

// String returns the list on one line, with the first remedy.
func (t trouble) String() string {
	var b strings.Builder
	if t.size > 1 {
		fmt.Fprintf(&b, "%d of %d servers failed", len(t.servers), t.size)
		switch {
		case t.need > 0:
			fmt.Fprintf(&b, ", and %d must work", t.need)
		case len(t.servers) < t.size:
			b.WriteString(", and the others did not")
		}
		b.WriteString(": ")
	}
	remedy := ""
	for i, s := range t.servers {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", s, t.complaints[i].what)
		if remedy == "" {
			remedy = t.complaints[i].remedy
		}
	}
	if remedy != "" {
		fmt.Fprintf(&b, " (%s)", remedy)
	}
	return b.String()
}

func (t *trouble) add(server string, c complaint) {
	t.servers = append(t.servers, server)
	t.complaints = append(t.complaints, c)
}

// failures returns what is wrong with the servers, from the error of an operation on a
// lock.
func failures(err error) trouble {
	var t trouble
	var quorum *redlock.QuorumError
	if !errors.As(err, &quorum) {
		return t
	}
	return inTrouble(quorum.Last(), quorum.Need)
}

// inQuarantine describes a server that is in quarantine for another left. left is 0 if
// that is not known.
func inQuarantine(left time.Duration) complaint {
	what := "it is in quarantine"
	if left > 0 {
		what += " for another " + round(left)
	}
	return complaint{what + ", as it is new, was started again or lost its data", "that ends by itself"}
}

// inTrouble returns what is wrong with the servers of a round that needs need of them.
func inTrouble(r redlock.Report, need int) trouble {
	t := trouble{size: len(r), need: need}
	for _, n := range r {
		switch {
		case n.Outcome == redlock.Quarantined:
			t.add(n.Node, inQuarantine(n.Quarantine))
		case n.Outcome == redlock.Failed, n.Outcome == redlock.TimedOut, n.Outcome == redlock.Pending && n.Latency > 0:
			t.add(n.Node, complain(n.Err, n.Latency))
		}
	}
	return t
}

// reason says in a few words why an operation failed.
func reason(err error) string {
	if t := failures(err); len(t.servers) > 0 {
		return t.String()
	}
	return strings.TrimPrefix(err.Error(), "redlock: ")
}

// lossReason says in a few words how a lock was lost.
func lossReason(err error) string {
	var quorum *redlock.QuorumError
	if !errors.As(err, &quorum) || len(quorum.Rounds) == 0 {
		return "it could not be extended in time"
	}
	last := quorum.Last()
	const how = "it was deleted there, or taken over, or the server lost its data"
	if len(last) == 1 {
		return "the server does not have it any more: " + how
	}
	return fmt.Sprintf("%d of %d servers do not have it any more: %s", last.Count(redlock.NotHeld), len(last), how)
}

// round rounds a duration so that it is easy to read.
func round(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= 100*time.Millisecond:
		d = d.Round(10 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	return d.String()
}
