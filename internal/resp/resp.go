// Package resp reads and writes the Redis protocol, RESP 2 and 3, one complete command or
// reply at a time. The test servers and the faulty network use it, so that they do not
// depend on a driver that is itself under test.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits on lengths in a frame, so that bytes which are not RESP cause an error and not a
// huge allocation.
const (
	maxBulk  = 512 << 20
	maxItems = 1 << 20
)

// ErrProtocol matches errors about bytes that are not RESP.
var ErrProtocol = errors.New("resp: not RESP")

// An Error is an error reply.
type Error string

func (e Error) Error() string { return string(e) }

// A Push is a message that a server sends without a command (RESP 3).
type Push []any

// AppendCommand appends a command to dst as an array of bulk strings.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = fmt.Appendf(dst, "*%d\r\n", len(args))
	for _, arg := range args {
		dst = fmt.Appendf(dst, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return dst
}

// ReadCommand reads one command, which may be an inline command. It returns the raw bytes
// and the arguments, starting with the name. It returns [io.EOF] if r ends before the
// command begins.
func ReadCommand(r *bufio.Reader) (raw []byte, args []string, err error) {
	f := frame{r: r}
	line, err := f.line()
	if err != nil {
		return nil, nil, err
	}
	if line == "" || line[0] != '*' {
		return f.raw, strings.Fields(line), nil
	}
	n, err := count(line[1:], maxItems)
	if err != nil {
		return nil, nil, err
	}
	for range n {
		v, err := f.value()
		if err != nil {
			return nil, nil, unexpectedEOF(err)
		}
		arg, ok := v.(string)
		if !ok {
			return nil, nil, fmt.Errorf("%w: a command's argument is %T", ErrProtocol, v)
		}
		args = append(args, arg)
	}
	return f.raw, args, nil
}

// ReadReply reads one reply. It returns the raw bytes and the value: string, int64, nil,
// bool, float64, []any (of a map, keys and values alternate), [Error] or [Push]. It
// returns [io.EOF] if r ends before the reply begins.
func ReadReply(r *bufio.Reader) (raw []byte, value any, err error) {
	f := frame{r: r}
	value, err = f.value()
	if err != nil && len(f.raw) > 0 {
		err = unexpectedEOF(err)
	}
	return f.raw, value, err
}

// frame collects the raw bytes of a command or a reply.
type frame struct {
	r   *bufio.Reader
	raw []byte
}

func (f *frame) line() (string, error) {
	start := len(f.raw)
	for {
		part, err := f.r.ReadSlice('\n')
		f.raw = append(f.raw, part...)
		if err == nil {
			return strings.TrimRight(string(f.raw[start:]), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if len(f.raw) > start {
				err = unexpectedEOF(err)
			}
			return "", err
		}
	}
}

func (f *frame) value() (any, error) {
	line, err := f.line()
	if err != nil {
		return nil, err
	}
	if line == "" {
		return nil, fmt.Errorf("%w: an empty line", ErrProtocol)
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', '(':
		return rest, nil
	case '-':
		return Error(rest), nil
	case '_':
		return nil, nil
	case '#':
		return rest == "t", nil
	case ':':
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return n, nil
	case ',':
		x, err := strconv.ParseFloat(rest, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return x, nil
	case '$', '!', '=':
		s, null, err := f.bulk(rest)
		switch {
		case err != nil || null:
			return nil, err
		case kind == '!':
			return Error(s), nil
		case kind == '=' && len(s) >= 4:
			return s[4:], nil // without the type of a verbatim string: "txt:"
		}
		return s, nil
	case '*', '~':
		return f.items(rest, 1)
	case '%':
		return f.items(rest, 2)
	case '>':
		v, err := f.items(rest, 1)
		items, _ := v.([]any)
		return Push(items), err
	case '|': // attributes precede the value that they describe
		if _, err := f.items(rest, 2); err != nil {
			return nil, err
		}
		return f.value()
	}
	return nil, fmt.Errorf("%w: a value that begins with %q", ErrProtocol, kind)
}

func (f *frame) bulk(length string) (s string, null bool, err error) {
	if length == "-1" {
		return "", true, nil
	}
	n, err := count(length, maxBulk)
	if err != nil {
		return "", false, err
	}
	start := len(f.raw)
	f.raw = append(f.raw, make([]byte, n+2)...)
	if _, err := io.ReadFull(f.r, f.raw[start:]); err != nil {
		return "", false, unexpectedEOF(err)
	}
	return string(f.raw[start : start+n]), false, nil
}

func (f *frame) items(length string, each int) (any, error) {
	if length == "-1" {
		return nil, nil
	}
	n, err := count(length, maxItems)
	if err != nil {
		return nil, err
	}
	items := []any{}
	for range n * each {
		v, err := f.value()
		if err != nil {
			return nil, unexpectedEOF(err)
		}
		items = append(items, v)
	}
	return items, nil
}

func count(s string, limit int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%w: a length of %q", ErrProtocol, s)
	}
	return n, nil
}

// unexpectedEOF replaces io.EOF, because the input ended inside a frame.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
