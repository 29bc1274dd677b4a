package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// A complaint says in a few words what is wrong with a server, and what to do about it if
// that is known.
type complaint struct{ what, remedy string }

var oneOfACluster = complaint{"it belongs to a Cluster", "write redis+cluster:// instead of redis://"}

// complain shortens the error of a server. Errors of the driver are too long.
func complain(err error, waited time.Duration) complaint {
	if c, ok := complainOfSentinels(err, waited); ok {
		return c
	}
	if c, ok := complainOfTLS(err); ok {
		return c
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return complaint{"connection refused", "is Redis running there? is the address in --node or REDLOCK_NODES right?"}
	case errors.Is(err, syscall.ENOENT):
		return complaint{"no such socket", "is Redis running there? is the address in --node or REDLOCK_NODES right?"}
	case errors.As(err, &dns):
		return complaint{"unknown host", "check the host name in --node or REDLOCK_NODES"}
	case err == nil, isTimeout(err):
		what := "no answer"
		if waited > 0 {
			what += " within " + round(waited)
		}
		return complaint{what, "does the server hang? is the address right, and redis:// or rediss://? is there a firewall? --node-timeout allows more time"}
	}
	said, answered := backend.ServerReply(err)
	if !answered {
		said = err.Error()
	}
	said, _, _ = strings.Cut(said, ", with args beginning with:") // one of them may be the token
	said = text.Line(said)
	code, _, _ := strings.Cut(said, " ")
	switch {
	case code == "NOAUTH":
		return complaint{"it wants a password", "put it into the URL, redis://:PASSWORD@HOST:PORT, and that into REDLOCK_NODES, or give --password-file or REDLOCK_PASSWORD"}
	case code == "WRONGPASS", strings.HasPrefix(said, "ERR invalid password"), strings.HasPrefix(said, "ERR AUTH"), strings.HasPrefix(said, "ERR Client sent AUTH"):
		return complaint{"wrong user or password", "check them in the URL, where special characters are written as %XX, or in --password-file or REDLOCK_PASSWORD"}
	case code == "NOPERM", strings.HasPrefix(said, "ERR ACL failure in script"), strings.HasPrefix(said, "ERR The user executing the script can't run"):
		return complaint{said, "the user needs more rights to the key: +set +eval +evalsha +get +del +pttl +pexpire. " +
			"--fencing also needs +exists +time +persist, --quarantine +info +time, and --shared +time +zadd +zrem +zrange +zscore +pexpireat"}
	case code == "OOM": // the server adds where in the script, at length
		return complaint{"its memory is full (OOM)", "raise maxmemory, or delete what else the server stores"}
	case code == "NORUNID":
		return complaint{"it does not tell its run_id (INFO server)", "it cannot have a --quarantine, or the user needs +info"}
	case code == "READONLY":
		return complaint{"it is a replica, which cannot keep locks", "name the master"}
	case code == "WRONGTYPE":
		return complaint{"the key is in use for something else", "take another name, or a --prefix"}
	case strings.HasPrefix(said, "ERR unknown command"):
		return complaint{said, "is it a Sentinel? name the master, or write redis+sentinel://"}
	case code == "MOVED":
		return oneOfACluster
	case code == "CLUSTERDOWN":
		return complaint{said, "a master of the Cluster is down and has no replica, or its servers do not find each other: CLUSTER INFO tells more"}
	case strings.Contains(said, "cluster support disabled"):
		return complaint{"it does not belong to a Cluster", "write redis:// instead of redis+cluster://"}
	case strings.Contains(said, "EOF"), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return complaint{"it closed the connection", "if it speaks TLS, write rediss:// instead of redis://; if it wants a client certificate, give --tls-cert and --tls-key; if INFO stats shows rejected_connections, raise maxclients"}
	}
	return complaint{what: said}
}

// isTimeout reports whether err says that a server has not answered in time, this call
// or the ones before it.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A trouble is the list of what is wrong with servers.
type trouble struct {
	size, need int // need is 0 if each server is asked on its own
	servers    []string
	complaints []complaint
}

// String returns the list on one line. Each remedy follows the last server that needs it.
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
	for i, s := range t.servers {
		if i > 0 {
			b.WriteString("; ")
		}
		c := t.complaints[i]
		fmt.Fprintf(&b, "%s: %s", s, c.what)
		again := slices.ContainsFunc(t.complaints[i+1:], func(later complaint) bool { return later.remedy == c.remedy })
		if c.remedy != "" && !again {
			fmt.Fprintf(&b, " (%s)", c.remedy)
		}
	}
	return b.String()
}

func (t *trouble) add(server string, c complaint) {
	t.servers = append(t.servers, server)
	t.complaints = append(t.complaints, c)
}

// failures returns what is wrong with the servers, from the error of an operation on a
// lock. timeout is how long a request waits for a server. Nothing is sent to a server that
// has hung before, so its report does not have that.
func failures(err error, timeout time.Duration) trouble {
	var t trouble
	var quorum *redlock.QuorumError
	if !errors.As(err, &quorum) {
		return t
	}
	last := slices.Clone(quorum.Last())
	for i, n := range last {
		if n.Err != nil && isTimeout(n.Err) && n.Latency < time.Millisecond {
			last[i].Latency = timeout
		}
	}
	return inTrouble(last, quorum.Need)
}

// inQuarantine describes a server that is in quarantine for another left. left is 0 if
// that is not known.
func inQuarantine(left time.Duration) complaint {
	what := "it is in quarantine"
	if left > 0 {
		what += " for another " + round(left)
	}
	return complaint{what + ", because it is new, was started again or lost its data", "that ends by itself"}
}

// inTrouble returns what is wrong with the servers of a round that needs need of them.
func inTrouble(r redlock.Report, need int) trouble {
	t := trouble{size: len(r), need: need}
	// The end of --wait may have cut off a server that works.
	decided := need > 0 && r.Count(redlock.Quarantined)+r.Count(redlock.Failed)+r.Count(redlock.TimedOut) > len(r)-need
	var without []string
	for _, n := range r {
		switch {
		case n.Outcome == redlock.NotHeld, n.Outcome == redlock.Skipped:
			without = append(without, n.Node)
		case n.Outcome == redlock.Pending && decided:
		case n.Outcome == redlock.Quarantined:
			t.add(n.Node, inQuarantine(n.Quarantine))
		case n.Outcome == redlock.Failed, n.Outcome == redlock.TimedOut, n.Outcome == redlock.Pending && n.Latency > 0:
			c := complain(n.Err, n.Latency)
			c.what += at(n.Node, n.Err)
			t.add(n.Node, c)
		}
	}
	if need > 0 && len(t.servers) > 0 { // these count too
		for _, node := range without {
			t.add(node, complaint{"it does not have the lock", lostData})
		}
	}
	return t
}

// at says which of its servers an error is about, for a node of several ([several]).
func at(node string, err error) string {
	var network *net.OpError
	if !strings.Contains(node, several) || !errors.As(err, &network) || network.Addr == nil {
		return ""
	}
	return " at " + network.Addr.String()
}

// reason says in a few words why an operation failed.
func reason(err error) string { return reasonAfter(err, 0) }

// reason is the function reason for an operation that asks the servers.
func (f *nodeFlags) reason(err error) string { return reasonAfter(err, f.timeout) }

func reasonAfter(err error, timeout time.Duration) string {
	if t := failures(err, timeout); len(t.servers) > 0 {
		return t.String()
	}
	return strings.TrimPrefix(err.Error(), "redlock: ")
}

// lostData is what to ask about a server that does not have a lock any more.
const lostData = `did it restart or fail over? "redlock doctor" checks whether it keeps its data`

// lossReason says in a few words how a lock was lost, on which servers, and what to check.
func lossReason(err error) string {
	var quorum *redlock.QuorumError
	if !errors.As(err, &quorum) || len(quorum.Rounds) == 0 {
		return "it could not be extended in time"
	}
	const how = "it was deleted there, or taken over, or the server lost its data (" + lostData + ")"
	last := quorum.Last()
	var without, skipped []string
	for _, n := range last {
		switch n.Outcome {
		case redlock.NotHeld:
			without = append(without, n.Node)
		case redlock.Skipped: // it has not had the lock, or was found without it before
			skipped = append(skipped, n.Node)
		}
	}
	switch names := strings.Join(append(without, skipped...), ", "); {
	case len(last) == 1:
		return fmt.Sprintf("the server %s does not have it any more: %s", names, how)
	case len(skipped) > 0:
		return fmt.Sprintf("%d of %d servers do not have it (%s): %s, or it was never taken there", len(without)+len(skipped), len(last), names, how)
	default:
		return fmt.Sprintf("%d of %d servers do not have it any more (%s): %s", len(without), len(last), names, how)
	}
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
