package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/redlock"
)

// The JSON of status. docs/status.md describes it.
type (
	jsonSnapshot struct {
		Time     time.Time    `json:"time"`
		Locks    []jsonLock   `json:"locks"`
		Totals   totals       `json:"totals"`
		Complete *bool        `json:"complete,omitempty"`
		Failed   []jsonFailed `json:"failed,omitempty"`
	}

	jsonLock struct {
		Name        string       `json:"name"`
		Key         string       `json:"key"`
		State       string       `json:"state"`
		Owner       string       `json:"owner,omitempty"`
		Fingerprint string       `json:"fingerprint,omitempty"`
		Fence       int64        `json:"fence,omitempty"`
		TTL         *int64       `json:"ttl_ms,omitempty"`
		Sharing     int          `json:"sharing,omitempty"`
		Sharers     []jsonSharer `json:"sharers,omitempty"`
		Waiting     *int         `json:"waiting,omitempty"`
		Waiters     []jsonWaiter `json:"waiters,omitempty"`
		Servers     []jsonServer `json:"servers"`
		Permits     []jsonPermit `json:"permits,omitempty"`

		PermitsWaiting *int         `json:"permits_waiting,omitempty"`
		PermitWaiters  []jsonWaiter `json:"permit_waiters,omitempty"`
		PermitsFailed  []jsonFailed `json:"permits_failed,omitempty"`
	}

	jsonPermit struct {
		Permit      int    `json:"permit"`
		Key         string `json:"key"`
		State       string `json:"state"`
		Owner       string `json:"owner,omitempty"`
		Fingerprint string `json:"fingerprint,omitempty"`
		TTL         *int64 `json:"ttl_ms,omitempty"`
	}

	jsonSharer struct {
		Owner       string `json:"owner,omitempty"`
		Fingerprint string `json:"fingerprint"`
	}

	jsonWaiter struct {
		Owner       string `json:"owner,omitempty"`
		Fingerprint string `json:"fingerprint"`
		Waited      *int64 `json:"waited_ms,omitempty"`
	}

	jsonServer struct {
		Server      string `json:"server"`
		State       string `json:"state"`
		Owner       string `json:"owner,omitempty"`
		Fingerprint string `json:"fingerprint,omitempty"`
		TTL         *int64 `json:"ttl_ms,omitempty"`
		Waiting     *int   `json:"waiting,omitempty"`
		Error       string `json:"error,omitempty"`
	}

	jsonFailed struct {
		Server string `json:"server"`
		Error  string `json:"error"`
		Remedy string `json:"remedy,omitempty"`
	}
)

// json returns the snapshot on one line of JSON.
func (s *snapshot) json() string {
	j := jsonSnapshot{Time: s.at.UTC().Truncate(time.Millisecond), Locks: []jsonLock{}, Totals: s.totals()}
	for _, l := range s.locks {
		lock := jsonLock{
			Name: l.name, Key: l.Key, State: l.State.String(), Owner: l.Owner, Fingerprint: l.Fingerprint, Fence: l.fence,
			TTL: jsonTTL(l.State, l.TTL), Sharing: l.Reading, Waiting: jsonWaiting(l.Waiting),
		}
		for _, reader := range l.Readers {
			lock.Sharers = append(lock.Sharers, jsonSharer(reader))
		}
		lock.Waiters = jsonWaiters(l.Waiters)
		for _, p := range l.permits {
			lock.Permits = append(lock.Permits, jsonPermit{
				Permit: slotOf(p), Key: p.Key, State: p.State.String(), Owner: p.Owner, Fingerprint: p.Fingerprint, TTL: jsonTTL(p.State, p.TTL),
			})
		}
		if len(l.permits) > 0 {
			lock.PermitsWaiting, lock.PermitWaiters = jsonWaiting(l.permits[0].Waiting), jsonWaiters(l.permits[0].Waiters)
		}
		lock.PermitsFailed = jsonFailures(l.hidden)
		for _, n := range l.Nodes {
			server := jsonServer{
				Server: n.Node, State: n.State.String(), Owner: n.Owner, Fingerprint: n.Fingerprint,
				TTL: jsonTTL(n.State, n.TTL), Waiting: jsonWaiting(n.Waiting),
			}
			if n.Err != nil {
				server.Error = complain(n.Err, n.Latency).what
			}
			lock.Servers = append(lock.Servers, server)
		}
		j.Locks = append(j.Locks, lock)
	}
	if s.list {
		complete := s.complete()
		j.Complete = &complete
	}
	j.Failed = jsonFailures(s.unsearched)
	line, err := json.Marshal(j)
	if err != nil {
		panic(err) // it has no value that JSON cannot express
	}
	return printableJSON(string(line))
}

func jsonFailures(t trouble) []jsonFailed {
	var all []jsonFailed
	for i, server := range t.servers {
		all = append(all, jsonFailed{server, t.complaints[i].what, t.complaints[i].remedy})
	}
	return all
}

func jsonWaiters(list []redlock.Waiter) []jsonWaiter {
	var all []jsonWaiter
	for _, w := range list {
		waiter := jsonWaiter{Owner: w.Owner, Fingerprint: w.Fingerprint}
		if w.Waited >= 0 {
			waiter.Waited = new(int64)
			*waiter.Waited = w.Waited.Milliseconds()
		}
		all = append(all, waiter)
	}
	return all
}

// jsonTTL returns the milliseconds for which a lock remains in its state, -1 if that is
// for ever.
func jsonTTL(state redlock.State, ttl time.Duration) *int64 {
	if !lasts(state) {
		return nil
	}
	ms := ttl.Milliseconds()
	if ttl == backend.NoExpiry {
		ms = -1
	}
	return &ms
}

func jsonWaiting(n int) *int {
	if n == redlock.NotKnown {
		return nil
	}
	return &n
}

// printableJSON escapes what is not printable. In JSON, such characters are only in
// strings. Labels and names come from others, and the reader may be a terminal.
func printableJSON(line string) string {
	var b strings.Builder
	for _, r := range line {
		switch {
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
