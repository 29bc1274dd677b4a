package backend_test

import (
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
)

func TestNewScript(t *testing.T) {
	s := backend.NewScript("name", "return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
	if s.Name() != "name" || s.Source() != "return 1" || s.Hash() != "e0e1f9fabfc9d4800c877a703b823ac0578ff8db" {
		t.Errorf("got %q, %q, %q", s.Name(), s.Source(), s.Hash())
	}
}

func TestNewReply(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   any
		want backend.Reply // nil for an error
	}{
		{"an integer", int64(-1), backend.Reply{int64(-1)}},
		{"a string", "a\x00b", backend.Reply{"a\x00b"}},
		{"bytes", []byte("a\xff"), backend.Reply{"a\xff"}},
		{"no bytes", []byte{}, backend.Reply{""}},
		{"a list", []any{int64(1), "a", []byte("b")}, backend.Reply{int64(1), "a", "b"}},
		{"an empty list", []any{}, backend.Reply{}},
		{"nil", nil, nil},
		{"a nil in a list", []any{int64(1), nil}, nil},
		{"a list in a list", []any{[]any{}}, nil},
		{"another integer", 1, nil},
		{"a float", 1.5, nil},
		{"a boolean", []any{true}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := backend.NewReply(tc.in)
			if (err != nil) != (tc.want == nil) || !slices.Equal(got, tc.want) {
				t.Errorf("got %#v, %v, want %#v", got, err, tc.want)
			}
		})
	}
}

// A driver may reuse its buffer.
func TestNewReplyCopiesBytes(t *testing.T) {
	buffer := []byte("token")
	r, err := backend.NewReply([]any{buffer})
	if err != nil {
		t.Fatal(err)
	}
	copy(buffer, "other")
	if s, err := r.Text(0); s != "token" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
}

func TestReplyElements(t *testing.T) {
	r := backend.Reply{int64(7), "seven"}
	if n, err := r.Int(0); n != 7 || err != nil {
		t.Errorf("Int(0) = %v, %v", n, err)
	}
	if s, err := r.Text(1); s != "seven" || err != nil {
		t.Errorf("Text(1) = %q, %v", s, err)
	}
	for _, i := range []int{-1, 1, 2} {
		if n, err := r.Int(i); n != 0 || err == nil {
			t.Errorf("Int(%d) = %v, %v, want an error", i, n, err)
		}
	}
	for _, i := range []int{-1, 0, 2} {
		if s, err := r.Text(i); s != "" || err == nil {
			t.Errorf("Text(%d) = %q, %v, want an error", i, s, err)
		}
	}
}
