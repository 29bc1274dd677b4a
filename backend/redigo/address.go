package redigo

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// address is the address of the server, as far as connections have revealed it. A pool
// does not tell which server it dials, and redigo's connections do not tell where they
// lead.
type address struct{ last atomic.Pointer[string] }

// get returns the address, or "" while it is not known.
func (a *address) get() string {
	if last := a.last.Load(); last != nil {
		return *last
	}
	return ""
}

func (a *address) set(text string) {
	if text != a.get() {
		a.last.Store(&text)
	}
}

// watch returns a ctx under which a dial reveals the address. Package net reports it if
// the pool's DialContext passes the ctx on.
func (a *address) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectDone: func(_, text string, err error) {
			if err == nil || a.get() == "" {
				a.set(text)
			}
		},
	})
}

// learn takes the address from a network error.
func (a *address) learn(err error) {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		a.set(op.Addr.String())
	}
}
