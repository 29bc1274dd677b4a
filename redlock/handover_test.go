package redlock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quorumlock/quorumlock/internal/handover"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// The text of a handover is one word, and contains all parts of the handover.
func TestHandoverText(t *testing.T) {
	for _, h := range []Handover{
		NewHandover("k", "t", 0),
		NewHandover("orders/42", "host:1:ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1795941290718845),
		NewHandover("a b.c\r\n%\x00\xff", "\x00~ .", handover.MostFence),
	} {
		text, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Trim(string(text), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("the text is %q", text)
		}
		var read Handover
		if err := read.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		if read.Key() != h.Key() || read.Token() != h.Token() || read.Fence() != h.Fence() || read.Owner() != h.Owner() {
			t.Errorf("decoding %q gave %q", text, read.parts().Encode())
		}
		inJSON, err := json.Marshal(map[string]Handover{"lock": h})
		var job map[string]Handover
		if err != nil || json.Unmarshal(inJSON, &job) != nil || job["lock"].Token() != h.Token() {
			t.Errorf("in JSON it is %s, %v", inJSON, err)
		}
	}
}

// No output for people shows the token, however the handover is printed.
func TestHandoverHidesToken(t *testing.T) {
	const secret = "sekrit"
	h := NewHandover("k", "me:"+secret, 17)
	hidden := struct{ h Handover }{h}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "h", h, "p", &h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "h", h, "p", &h)
	texts := []string{h.String(), log.String(), fmt.Sprint(h), fmt.Sprintln(&h), fmt.Errorf("%w %v", errors.ErrUnsupported, h).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		texts = append(texts, fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, []Handover{h}), fmt.Sprintf(verb, hidden), fmt.Sprintf(verb, &hidden))
	}
	for _, s := range texts {
		if strings.Contains(strings.ToLower(s), secret) || strings.Contains(strings.ToLower(s), fmt.Sprintf("%x", secret)) {
			t.Errorf("%q shows the token", s)
		}
	}
	if s, want := h.String(), `the lock "k" of #`+proto.Fingerprint("me:"+secret)+" with the fencing token 17"; s != want {
		t.Errorf("%q, want %q", s, want)
	}
	var zero Handover
	_ = fmt.Sprintf("%v %+v %#v", zero, &zero, (*Handover)(nil))
}

// A text that is not a handover is rejected, and leaves the handover as it was. Package
// handover tests which texts are.
func TestHandoverRejectsText(t *testing.T) {
	good := NewHandover("orders/42", "SEKRITTOKEN", 17).parts().Encode()
	for _, tc := range []struct{ text, want string }{
		{"", "an empty text"},
		{good[:len(good)-1], "not complete, or was changed"},
		{NewHandover("k", "~SEKRIT", 0).parts().Encode(), "must not begin with ~"},
		{NewHandover("k", "SEKRIT", 1<<63).parts().Encode(), "a fencing token of 9223372036854775808"},
	} {
		h := NewHandover("before", "t", 0)
		err := h.UnmarshalText([]byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), "redlock: handover: ") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
		if h.Key() != "before" {
			t.Errorf("%q: the failed decoding changed the handover", tc.text)
		}
	}
	for _, bad := range []Handover{{}, NewHandover("k", "", 0), NewHandover("", "t", 0), NewHandover("k", "~t", 0), NewHandover("k", "t", 1<<53), NewHandover("k", "t", 1<<63)} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("MarshalText returned %q", text)
		}
	}
}

// The key of a handover is the key on the servers. A Locker with another prefix uses the same
// lock, or rejects the handover.
func TestHandoverPrefix(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		first := r.locker(WithKeyPrefix("app:"))
		lock := r.lock(first, "x:k")
		synctest.Wait()
		h := lock.Handover()
		if h.Key() != "app:x:k" {
			t.Errorf("the key is %q", h.Key())
		}
		for prefix, key := range map[string]string{"": "app:x:k", "app:": "x:k", "app:x:": "k"} {
			resumed, err := r.locker(WithKeyPrefix(prefix)).Resume(t.Context(), h)
			if err != nil || resumed.Key() != key || resumed.Handover().Key() != h.Key() {
				t.Fatalf("with the prefix %q: the key is %q, %v", prefix, resumed.Key(), err)
			}
		}
		before := r.calls()
		for prefix, want := range map[string]string{
			"other:":  `"app:x:k": the key does not begin with the prefix of this Locker, "other:"`,
			"app:x:k": ": an empty key",
		} {
			other := r.locker(WithKeyPrefix(prefix))
			_, err := other.Resume(t.Context(), h)
			for op, err := range map[string]error{"resume": err, "release": other.Release(t.Context(), h)} {
				if err == nil || !strings.HasPrefix(err.Error(), "redlock: "+op) || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("%s with the prefix %q: %v, want %q", op, prefix, err, want)
				}
			}
		}
		if n := r.calls(); n != before {
			t.Errorf("%d calls were made", n-before)
		}
		if err := r.locker().Release(t.Context(), h); err != nil {
			t.Error(err)
		}
	})
}
