package text

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"ordinary", `NOPERM User joe's "x" \ is 100% fine`, `NOPERM User joe's "x" \ is 100% fine`},
		{"letters of many scripts", "Schlüssel 鍵 🔑 �", "Schlüssel 鍵 🔑 �"},
		{"a colour", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"a window title", "\x1b]0;title\a", `\x1b]0;title\a`},
		{"lines", "a\r\nredlock: b\n\ttab", `a\r\nredlock: b\n\ttab`},
		{"other controls", "\x00\b\v\f\x7f", `\x00\b\v\f\x7f`},
		{"C1", "\u009b31m\u0085", `\u009b31m\u0085`},
		{"C1 as bytes", "\x9b31m", `\x9b31m`},
		{"direction marks", "a\u202eb\u2066c\u200f", `a\u202eb\u2066c\u200f`},
		{"invisible", "a\u200bb\ufeffc\u2028d\u00a0e\U000e0041", `a\u200bb\ufeffc\u2028d\u00a0e\U000e0041`},
		{"no UTF-8", "a\xff\xc3(", `a\xff\xc3(`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, f := range map[string]func(string) string{"Escape": Escape, "Line": Line, "Name": Name} {
				if got := f(test.in); got != test.want {
					t.Errorf("%s: %q, want %q", name, got, test.want)
				}
				if got := f(test.want); got != test.want {
					t.Errorf("%s, the second time: %q", name, got)
				}
			}
			// The result equals that of %q without the quotes, except for the characters that %q
			// escapes because of them.
			if q := fmt.Sprintf("%q", test.in); !strings.ContainsAny(test.in, `"\`) && Escape(test.in) != q[1:len(q)-1] {
				t.Errorf("Escape: %s, and %%q: %s", Escape(test.in), q)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	for name, unit := range map[string]string{"letters": "a", "escapes": "\x1b", "wide": "鍵", "no UTF-8": "\xff", "long escapes": "\U000e0041"} {
		t.Run(name, func(t *testing.T) {
			for limit, f := range map[int]func(string) string{maxLine: Line, maxName: Name} {
				for n := 0; n < limit+20; n += 7 {
					in := strings.Repeat(unit, n)
					got := f(in)
					if len(got) > limit || !utf8.ValidString(got) {
						t.Fatalf("%d units became %d bytes: %q", n, len(got), got)
					}
					if f(got) != got {
						t.Fatalf("%d units are cut twice: %q, %q", n, got, f(got))
					}
					if whole := Escape(in); got != whole {
						head, ok := strings.CutSuffix(got, fmt.Sprintf("… (%d bytes)", len(in)))
						if !ok || len(whole) <= limit || !strings.HasPrefix(whole, head) || len(head) < limit-30 || len(head)%len(Escape(unit)) != 0 {
							t.Fatalf("%d units became %q", n, got)
						}
					}
				}
			}
		})
	}
	if got := Line(strings.Repeat("a", 1<<20)); len(got) > maxLine || !strings.HasSuffix(got, "aaa… (1048576 bytes)") {
		t.Errorf("a megabyte became %q", got)
	}
}

func TestQuote(t *testing.T) {
	for _, in := range []string{"", "key", `a"b\c`, "\x1b[2J\n\u202e\xff", strings.Repeat("a", maxName)} {
		if got, want := Quote(in), fmt.Sprintf("%q", in); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, unit := range []string{"a", "鍵", "\xff", "\x80"} {
		in := strings.Repeat(unit, 1<<20/len(unit))
		got := Quote(in)
		head, ok := strings.CutSuffix(got, fmt.Sprintf(`"… (%d bytes)`, len(in)))
		if whole := fmt.Sprintf("%q", in); !ok || len(head) < maxName-utf8.UTFMax || len(head) > 4*maxName+1 || !strings.HasPrefix(whole, head) {
			t.Errorf("a megabyte of %q became %s", unit, got)
		}
	}
}
