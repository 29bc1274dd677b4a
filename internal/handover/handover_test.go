package handover

import (
	"strings"
	"testing"
)

// The text is a contract between releases.
func TestText(t *testing.T) {
	for want, p := range map[string]Parts{
		"redlock1.b3JkZXJzLzQy.dG9rZW4.17.7a4b1e90":     {Key: "orders/42", Token: "token", Fence: 17},
		"redlock1.b3JkZXJzLzQy.dG9rZW4.shared.57885ba8": {Key: "orders/42", Token: "token", Shared: true},
		"redlock1.aw.dA.0.0668488c":                     {Key: "k", Token: "t"},
	} {
		if text := p.Encode(); text != want {
			t.Errorf("the text is %q, want %q", text, want)
		}
		if read, err := Parse(want); err != nil || read != p {
			t.Errorf("%q is read as %+v, %v", want, read, err)
		}
	}
}

// A text that is not a handover is rejected, with an error that shows no part of the text.
func TestRejectsText(t *testing.T) {
	good := Parts{Key: "orders/42", Token: "SEKRITTOKEN", Fence: 17}.Encode()
	for _, tc := range []struct{ text, want string }{
		{"", "an empty text"},
		{good + "\n", "spaces or line ends"},
		{" " + good, "spaces or line ends"},
		{"SEKRIT", "not the text of a handover"},
		{"redlock2" + good[8:], "another version"},
		{"redlock10" + good[8:], "another version"},
		{good[:len(good)-9], "4 parts instead of 5"},
		{good + ".x", "6 parts instead of 5"},
		{good[:len(good)-1], "not complete, or was changed"},
		{strings.ToUpper(good[9:]), "not the text"},
		{strings.Replace(good, ".17.", ".18.", 1), "not complete, or was changed"},
		{strings.Replace(good, ".17.", ".017.", 1), "not complete, or was changed"},
		{Parts{Token: "SEKRIT"}.Encode(), "an empty key"},
		{Parts{Key: "k"}.Encode(), "an empty token"},
		{Parts{Key: "k", Token: "~SEKRIT"}.Encode(), "must not begin with ~"},
		{Parts{Key: "k", Token: "SEKRIT", Fence: MostFence + 1}.Encode(), "a fencing token of 9007199254740992"},
	} {
		p, err := Parse(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) || p != (Parts{}) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		} else if strings.Contains(err.Error(), "SEKRIT") || strings.Contains(err.Error(), "U0VLUklU") {
			t.Errorf("%q: the error shows the token: %v", tc.text, err)
		}
	}
	for _, bad := range []Parts{{}, {Key: "k"}, {Token: "t"}, {Key: "k", Token: "~t"}, {Key: "k", Token: "t", Fence: 1 << 53}} {
		if err := bad.Check(); err == nil {
			t.Errorf("%+v is not rejected", bad)
		}
	}
}

// A handover has exactly one text: decoding and encoding a text gives the same text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "redlock1....", "redlock1.aw.dA.0.", Parts{Key: "k", Token: "t"}.Encode(), Parts{Key: "a}b", Token: "me:x", Fence: MostFence}.Encode(),
		"redlock1.aw.dA.0.00000000", "redlock1.aw\n.dA.0.00000000", strings.Repeat(".", 1000), Parts{Key: "k", Token: "~"}.Encode(),
		Parts{Key: "k", Token: "t", Shared: true}.Encode(),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		if text := p.Encode(); p.Check() != nil || text != s {
			t.Errorf("%q was encoded as %q, %v", s, text, p.Check())
		}
	})
}
