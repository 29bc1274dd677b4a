package doctor

import (
	"errors"
	"fmt"
	"testing"
)

// Drivers decode replies differently.
func TestReplies(t *testing.T) {
	for _, v := range []any{
		[]any{"a", "1"}, []any{[]byte("a"), int64(1)}, []string{"a", "1"},
		map[any]any{"a": "1"}, map[string]any{"a": []byte("1")}, map[string]string{"a": "1"},
	} {
		if pairs, ok := pairsOf(v); !ok || fmt.Sprint(pairs) != "map[a:1]" {
			t.Errorf("%T %v is %v, %v", v, v, pairs, ok)
		}
	}
	for _, v := range []any{nil, "a", []any{"a"}, []any{"a", nil}, map[any]any{"a": nil}, map[any]any{nil: "a"}} {
		if pairs, ok := pairsOf(v); ok {
			t.Errorf("%T %v is %v", v, v, pairs)
		}
	}
	for text, want := range map[string]string{
		"NOPERM no": "NOPERM", "-OOM no": "OOM", "NOAUTH": "NOAUTH", "": "", "EOF": "", "dial tcp": "", "read: NOPERM": "",
		"@user_script: 9: -OOM command not allowed": "OOM", "@user_script:9: OOM": "OOM",
	} {
		if got := code(errors.New(text)); got != want {
			t.Errorf("the code of %q is %q, want %q", text, got, want)
		}
	}
}

// A key prefix may contain what a pattern uses.
func TestLiteral(t *testing.T) {
	if got, want := literal(`a*b?c[d]e\f`), `a\*b\?c\[d\]e\\f`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLevel(t *testing.T) {
	for level, want := range map[Level]string{OK: "ok", NotChecked: "not checked", Warning: "warning", Failure: "failure", -1: "Level(-1)", 4: "Level(4)"} {
		if got, err := level.MarshalText(); string(got) != want || err != nil {
			t.Errorf("%d is %s, %v, want %s", int(level), got, err, want)
		}
	}
	if (Report{{Level: Warning}, {Level: NotChecked}}).Worst() != Warning || (Report{}).Worst() != OK {
		t.Error("Worst is wrong")
	}
}
