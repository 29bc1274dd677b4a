package rueidis

import "testing"

func TestSlot(t *testing.T) {
	for _, test := range []struct {
		key  string
		want int
	}{
		{"", 0},
		{"123456789", 0x31C3},
		{"foo", 12182},
		{"a{foo}b", 12182},
		{"a{foo}{bar}", 12182},
		{"{foo", slot("x{{foo}")},
	} {
		if got := slot(test.key); got != test.want {
			t.Errorf("%q: %d, want %d", test.key, got, test.want)
		}
	}
	if slot("{}foo") == slot("") || slot("foo{}{bar}") == slot("bar") {
		t.Error("empty braces are no tag")
	}
}
