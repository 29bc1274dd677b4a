package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

// slow returns a candidate with hooks and the longest possible node timeout.
func (p *parliament) slow(name string, hooks redlock.Hooks) *candidate {
	p.t.Helper()
	c := &candidate{name: name}
	var nodes []backend.Node
	for _, s := range p.servers {
		wire := faulty.NewFaultNode(s)
		c.wires, nodes = append(c.wires, wire), append(nodes, wire)
	}
	var err error
	c.Locker, err = redlock.New(nodes, redlock.WithOwner(name), redlock.WithNodeTimeout(1250*time.Millisecond), redlock.WithHooks(hooks))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// A candidate whose servers are slow leads, also with a long grace: what a slow acquisition
// has taken of the lease is given back by an extension.
func TestSlowServers(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		x := p.slow("x", redlock.Hooks{})
		x.cut(0, faulty.DelayReply(time.Second))
		ended := p.campaign(ctx, x, election.Callbacks{
			Lead:    untilEnd,
			Grace:   4550 * time.Millisecond, // of a lease of 9898 ms, of which the acquisition takes a second
			Deposed: func(_ uint64, why error) { t.Errorf("deposed: %v", why) },
		})
		time.Sleep(time.Minute)
		p.order("x")
		select {
		case err := <-ended:
			t.Errorf("the campaign ended: %v", err)
		default:
		}
		x.cut(0)
		cancel()
	})
}

// A candidate that stood still when it acquired the lock, until less than a grace was left
// of it, resigns without having led, and leads later.
func TestStoodStill(t *testing.T) {
	for name, left := range map[string]time.Duration{
		"less than a grace is left": 500 * time.Millisecond,
		"nothing is left":           -time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			on(t, 3, func(t *testing.T, p *parliament) {
				ctx, cancel := context.WithCancel(t.Context())
				var x *candidate
				stalls := 0
				x = p.slow("x", redlock.Hooks{Locked: func(_ context.Context, e redlock.Event) {
					if e.Op != "lock" || e.Err != nil {
						return
					}
					if stalls++; stalls > 1 {
						return
					}
					x.cut(0, faulty.Hang())
					time.Sleep(9898*time.Millisecond - left)
				}})
				ended := p.campaign(ctx, x, election.Callbacks{
					Lead:    untilEnd,
					Grace:   time.Second,
					Deposed: func(_ uint64, why error) { t.Errorf("deposed without having led: %v", why) },
				})
				time.Sleep(14 * time.Second)
				p.order() // the servers do not answer
				x.cut(0)
				time.Sleep(10 * time.Second)
				p.order("x")
				select {
				case err := <-ended:
					t.Errorf("the campaign ended: %v", err)
				default:
				}
				cancel()
			})
		})
	}
}
