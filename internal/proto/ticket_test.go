package proto

import (
	"testing"
	"time"
)

func TestTicket(t *testing.T) {
	for text, want := range map[string]Ticket{
		"20:redlock:inbox:x": {Grace: 20 * time.Millisecond, Channel: "redlock:inbox:x"},
		"99999:a:b":          {Shared: true, Grace: 9999 * time.Millisecond, Channel: "a:b"},
		"1:":                 {Grace: time.Millisecond},
		"89999:x":            {Grace: 89999 * time.Millisecond, Channel: "x"},
		"90020:x":            {Shared: true, Grace: 20 * time.Millisecond, Channel: "x"},
	} {
		got, ok := ParseTicket(text)
		if !ok || got != want {
			t.Errorf("ParseTicket(%q) = %+v, %v", text, got, ok)
		}
		if got.String() != text {
			t.Errorf("the ticket %+v is encoded as %q, want %q", got, got, text)
		}
	}
	for _, text := range []string{"", "20", ":x", "0:x", "020:x", "100000:x", "-5:x", "+5:x", "2 :x", "1_0:x", "us"} {
		if got, ok := ParseTicket(text); ok {
			t.Errorf("%q was parsed as the ticket %+v", text, got)
		}
	}
}

func TestReservation(t *testing.T) {
	if ticket, ok := Reserved(Reservation("20:x")); ticket != "20:x" || !ok {
		t.Errorf("a reservation is for %q, %v", ticket, ok)
	}
	if _, ok := Reserved("token"); ok {
		t.Error("a token was parsed as a reservation")
	}
}

func TestMessage(t *testing.T) {
	for text, want := range map[string]Message{
		"gk":       {Kind: Notify, Key: "k"},
		"g":        {Kind: Notify},
		"n20:a:b":  {Kind: Next, Key: "a:b", Grace: 20 * time.Millisecond},
		"n65535:k": {Kind: Next, Key: "k", Grace: 65535 * time.Millisecond},
		"n0:k":     {Kind: Next, Key: "k"},
	} {
		got, ok := ParseMessage(text)
		if !ok || got != want {
			t.Errorf("ParseMessage(%q) = %+v, %v", text, got, ok)
		}
		if got.String() != text {
			t.Errorf("the message %+v is encoded as %q, want %q", got, got, text)
		}
	}
	for _, text := range []string{"", "x", "n", "nk", "n20", "n-1:k", "n65536:k", "n 1:k", "echo"} {
		if got, ok := ParseMessage(text); ok {
			t.Errorf("%q was parsed as the message %+v", text, got)
		}
	}
}

// A text either is invalid, or is encoded unchanged after parsing, except for zeros.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"20:x", "gk", "n20:k", "~20:x", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if ticket, ok := ParseTicket(text); ok && ticket.String() != text {
			t.Errorf("the ticket %q is encoded as %q", text, ticket)
		}
		if m, ok := ParseMessage(text); ok {
			if again, ok := ParseMessage(m.String()); !ok || again != m {
				t.Errorf("the message %q is encoded as %q", text, m)
			}
		}
	})
}
