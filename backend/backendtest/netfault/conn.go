package netfault

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/resp"
)

// queued is the number of frames that may be under way in one direction of a connection. Beyond
// that the sender has to wait, as with a full network.
const queued = 1024

// conn is one client's connection and its counterpart to the server.
//
// Each direction has a reader and a writer. The reader takes frames off the socket and decides
// what happens to them. The writer lets each frame pass when it is due. They end when their
// socket ends or when the connection is cut.
type conn struct {
	p              *Proxy
	client, server *net.TCPConn
	ready          time.Time     // when its setup is over
	done           chan struct{} // closed by end
	once           sync.Once     // for end
	lossy          bool          // has lost bytes; protected by p.mu
	forgotten      bool          // loses all bytes; protected by p.mu

	mu      sync.Mutex
	opaque  bool      // not RESP, for example TLS
	resp3   bool      // the client requested RESP 3
	pending []request // commands that await a reply, oldest first
}

// request is a command that is under way.
type request struct {
	fault  *Fault // what happens to its reply: it is lost or replaced
	stream bool   // after its reply, messages come without requests (RESP 2)
}

// chunk is a unit that passes as a whole: a command, a reply, or any bytes.
type chunk struct {
	bytes []byte
	due   time.Time
	stall *Fault // passes only when this is released
	cut   *Fault // does not pass: the connection is cut instead
}

// serve handles a connection until both its directions have ended.
func (p *Proxy) serve(l net.Listener, client *net.TCPConn) {
	c := &conn{p: p, client: client, done: make(chan struct{})}
	accepted := time.Now()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	var dialer net.Dialer
	upstream, err := dialer.DialContext(p.ctx, "tcp", target)
	if err == nil {
		c.server = upstream.(*net.TCPConn)
	}
	p.change(func() {
		if err != nil || p.listener != l { // no server, or refused meanwhile
			c.cut()
			return
		}
		c.ready = accepted.Add(p.setup)
		p.conns[c] = struct{}{}
		p.accepted++
	})
	select {
	case <-c.done:
		return
	default:
	}

	var wg sync.WaitGroup
	toServer, toClient := make(chan chunk, queued), make(chan chunk, queued)
	wg.Go(func() { defer close(toServer); c.readCommands(toServer) })
	wg.Go(func() { defer close(toClient); c.readReplies(toClient) })
	// If the client leaves, its last bytes still arrive before the server learns of it. If the
	// server leaves, the connection ends.
	wg.Go(func() { c.write(ToServer, toServer, c.server); c.awaitNews(); c.server.CloseWrite() })
	wg.Go(func() { c.write(ToClient, toClient, c.client); c.awaitNews(); c.end() })
	wg.Wait()
	p.change(func() { delete(p.conns, c) })
}

// awaitNews hides from one side of a forgotten connection that the other side has closed, until
// the connection is cut.
func (c *conn) awaitNews() {
	c.p.mu.Lock()
	forgotten := c.forgotten
	c.p.mu.Unlock()
	if forgotten {
		<-c.done
	}
}

// end closes both sides, and lets the connection's goroutines end.
func (c *conn) end() {
	c.once.Do(func() {
		close(c.done)
		c.client.Close()
		if c.server != nil {
			c.server.Close()
		}
	})
}

// cut ends the connection with a reset for the client.
func (c *conn) cut() {
	c.client.SetLinger(0)
	c.end()
}

func (c *conn) readCommands(out chan<- chunk) {
	r := bufio.NewReader(c.client)
	first, err := r.Peek(1)
	if err != nil {
		return
	}
	if first[0] != '*' && (first[0] < 'A' || first[0] > 'z') {
		c.mu.Lock()
		c.opaque = true
		c.mu.Unlock()
		c.copy(ToServer, r, out)
		return
	}
	for {
		raw, args, err := resp.ReadCommand(r)
		if err != nil {
			return
		}
		ch := chunk{bytes: raw}
		if len(args) > 0 { // an empty line has no reply
			var f *Fault
			c.p.change(func() {
				c.p.counts[strings.ToUpper(args[0])]++
				f = c.p.faultFor(args)
			})
			var rq request
			if f != nil {
				switch f.kind {
				case loseReply:
					rq.fault = f
				case loseRequest:
					ch.cut = f
				case stallRequest:
					ch.stall = f
				case rejectRequest: // a command without effect keeps the order of the replies
					rq.fault, args = f, []string{"PING"}
					ch.bytes = resp.AppendCommand(nil, args...)
				}
			}
			c.expect(args, rq)
		}
		if !c.send(ToServer, ch, out) {
			return
		}
	}
}

// expect records that the command's reply will come.
func (c *conn) expect(args []string, rq request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch name := strings.ToUpper(args[0]); name {
	case "HELLO":
		c.resp3 = c.resp3 || len(args) > 1 && args[1] == "3"
	case "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE":
		if c.resp3 && name != "MONITOR" {
			return // its replies are messages
		}
		rq.stream = true
	}
	c.pending = append(c.pending, rq)
}

func (c *conn) readReplies(out chan<- chunk) {
	r := bufio.NewReader(c.server)
	if _, err := r.Peek(1); err != nil {
		return
	}
	// A server replies only after its client, so this is known by now.
	c.mu.Lock()
	opaque := c.opaque
	c.mu.Unlock()
	if opaque {
		c.copy(ToClient, r, out)
		return
	}
	for {
		raw, value, err := resp.ReadReply(r)
		if err != nil {
			return
		}
		ch := chunk{bytes: raw}
		if _, push := value.(resp.Push); !push {
			switch f := c.answered(); {
			case f == nil:
			case f.kind == loseReply:
				ch.cut = f
			case f.kind == rejectRequest:
				ch.bytes = []byte("-" + f.reply + "\r\n")
			}
		}
		if !c.send(ToClient, ch, out) {
			return
		}
	}
}

// answered removes the oldest command that awaits a reply. It returns the fault for that reply,
// if any.
func (c *conn) answered() *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 || c.pending[0].stream {
		return nil
	}
	fault := c.pending[0].fault
	c.pending = c.pending[1:]
	return fault
}

// copy passes bytes that are not RESP.
func (c *conn) copy(dir Direction, r *bufio.Reader, out chan<- chunk) {
	for {
		b := make([]byte, 16<<10)
		n, err := r.Read(b)
		if n > 0 && !c.send(dir, chunk{bytes: b[:n]}, out) || err != nil {
			return
		}
	}
}

// send sets a chunk on its way. It returns false if the connection was cut.
func (c *conn) send(dir Direction, ch chunk, out chan<- chunk) bool {
	c.p.mu.Lock()
	delay := c.p.delay[dir]
	c.p.mu.Unlock()
	ch.due = time.Now().Add(delay)
	if ch.due.Before(c.ready) {
		ch.due = c.ready
	}
	select {
	case out <- ch:
		return true
	case <-c.done:
		return false
	}
}

// write lets each chunk pass when its time has come, until in is closed or the connection is cut.
// If the receiver is gone, the rest is lost, but in is drained.
func (c *conn) write(dir Direction, in <-chan chunk, to net.Conn) {
	gone := false
	for ch := range in {
		f, ok := c.await(dir, ch)
		switch {
		case !ok:
			return
		case ch.cut != nil:
			c.cut()
			ch.cut.hit()
			return
		case f == discard || gone:
			continue
		}
		_, err := to.Write(ch.bytes)
		gone = err != nil
	}
}

// await waits until ch is due, not held, and not stalled. It returns what must happen to ch, or
// false if the connection was cut.
func (c *conn) await(dir Direction, ch chunk) (flow, bool) {
	if d := time.Until(ch.due); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.done:
			return 0, false
		}
	}
	for {
		c.p.mu.Lock()
		f, changed := c.p.flow[dir], c.p.changed
		stalled := ch.stall != nil && !ch.stall.removed
		if c.forgotten {
			f, stalled = discard, false
		}
		if f == discard {
			c.lossy = true
		}
		c.p.mu.Unlock()
		if f != hold && !stalled {
			return f, true
		}
		select {
		case <-changed:
		case <-c.done:
			return 0, false
		}
	}
}
