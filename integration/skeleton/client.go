package skeleton

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/resp"
)

// ServerError is an error reply.
type ServerError = resp.Error

// A Client is a minimal driver: a pool of connections without a limit. Its methods may be called
// concurrently.
type Client struct {
	addr string

	mu   sync.Mutex
	idle []*connection
}

type connection struct {
	net.Conn
	r *bufio.Reader
}

// NewClient returns a client of the server at addr. It does no I/O.
func NewClient(addr string) *Client { return &Client{addr: addr} }

// Do sends a command once and returns the server's reply. It returns when ctx ends.
func (c *Client) Do(ctx context.Context, args ...string) (any, error) {
	conn, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	var value any
	if _, err = conn.Write(resp.AppendCommand(nil, args...)); err == nil {
		_, value, err = resp.ReadReply(conn.r)
	}
	if !stop() && err == nil { // the deadline may be set at any moment
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		c.Close() // the others that are idle may be as old
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	c.mu.Lock()
	c.idle = append(c.idle, conn)
	c.mu.Unlock()
	if e, ok := value.(ServerError); ok {
		return nil, e
	}
	return value, nil
}

func (c *Client) take(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

// Close closes the idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}
