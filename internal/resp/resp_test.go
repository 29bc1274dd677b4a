package resp_test

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/internal/resp"
)

func TestReadReply(t *testing.T) {
	big := strings.Repeat("x", 100_000) // longer than a reader's buffer
	tests := []struct {
		name, in string
		want     any
	}{
		{"simple", "+OK\r\n", "OK"},
		{"error", "-ERR no\r\n", resp.Error("ERR no")},
		{"integer", ":-7\r\n", int64(-7)},
		{"bulk", "$4\r\na\r\nb\r\n", "a\r\nb"},
		{"empty bulk", "$0\r\n\r\n", ""},
		{"null bulk", "$-1\r\n", nil},
		{"long bulk", "$100000\r\n" + big + "\r\n", big},
		{"long line", "+" + big + "\r\n", big},
		{"array", "*2\r\n:1\r\n*1\r\n+x\r\n", []any{int64(1), []any{"x"}}},
		{"null array", "*-1\r\n", nil},
		{"null", "_\r\n", nil},
		{"boolean", "#t\r\n", true},
		{"double", ",1.5\r\n", 1.5},
		{"big number", "(123\r\n", "123"},
		{"bulk error", "!3\r\nERR\r\n", resp.Error("ERR")},
		{"verbatim", "=7\r\ntxt:abc\r\n", "abc"},
		{"map", "%1\r\n+k\r\n:1\r\n", []any{"k", int64(1)}},
		{"set", "~1\r\n:1\r\n", []any{int64(1)}},
		{"push", ">2\r\n+message\r\n+m\r\n", resp.Push{"message", "m"}},
		{"attributed", "|1\r\n+ttl\r\n:1\r\n+OK\r\n", "OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tt.in + "+next\r\n"))
			raw, got, err := resp.ReadReply(r)
			if err != nil || string(raw) != tt.in || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ReadReply(%.40q) = %.40q, %.40v, %v; want its own bytes, %.40v", tt.in, raw, got, err, tt.want)
			}
			if _, next, err := resp.ReadReply(r); next != "next" {
				t.Errorf("the reply after it = %v, %v", next, err)
			}
		})
	}
}

func TestReadCommand(t *testing.T) {
	sent := string(resp.AppendCommand(nil, "SET", "k\x00", "", "a\r\nb"))
	r := bufio.NewReader(strings.NewReader(sent + "PING  hello\r\n"))
	raw, args, err := resp.ReadCommand(r)
	if want := []string{"SET", "k\x00", "", "a\r\nb"}; err != nil || string(raw) != sent || !reflect.DeepEqual(args, want) {
		t.Errorf("ReadCommand = %q, %q, %v; want %q, %q", raw, args, err, sent, want)
	}
	if _, args, err = resp.ReadCommand(r); err != nil || !reflect.DeepEqual(args, []string{"PING", "hello"}) {
		t.Errorf("inline command = %q, %v", args, err)
	}
	if _, _, err = resp.ReadCommand(r); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestBroken(t *testing.T) {
	for _, in := range []string{"", "$5\r\nab", "*2\r\n+x\r\n", "+half"} {
		_, _, err := resp.ReadReply(bufio.NewReader(strings.NewReader(in)))
		want := io.ErrUnexpectedEOF
		if in == "" {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("ReadReply(%q): %v, want %v", in, err, want)
		}
	}
	for _, in := range []string{"\x16\x03\x01\r\n", "$x\r\n", "$-2\r\n", "*99999999\r\n", ":one\r\n", "\r\n"} {
		if _, _, err := resp.ReadReply(bufio.NewReader(strings.NewReader(in))); !errors.Is(err, resp.ErrProtocol) {
			t.Errorf("ReadReply(%q): %v, want ErrProtocol", in, err)
		}
	}
}
