package proto

import (
	"testing"
	"time"
)

func TestTicket(t *testing.T) {
	for text, want := range map[string]Ticket{
		"20:redlock:inbox:x": {20 * time.Millisecond, "redlock:inbox:x"},
		"99999:a:b":          {99999 * time.Millisecond, "a:b"},
		"1:":                 {time.Millisecond, ""},
	} {
		got, ok := ParseTicket(text)
		if !ok || got != want {
			t.Errorf("ParseTicket(%q) = %+v, %v", text, got, ok)
		}
		if got.String() != text {
			t.Errorf("the ticket %+v is written %q, want %q", got, got, text)
		}
	}
	for _, text := range []string{"", "20", ":x", "0:x", "020:x", "100000:x", "-5:x", "+5:x", "2 :x", "1_0:x", "us"} {
		if got, ok := ParseTicket(text); ok {
			t.Errorf("%q is taken for the ticket %+v", text, got)
		}
	}
}

func TestReservation(t *testing.T) {
	if ticket, ok := Reserved(Reservation("20:x")); ticket != "20:x" || !ok {
		t.Errorf("a reservation is for %q, %v", ticket, ok)
	}
	if _, ok := Reserved("token"); ok {
		t.Error("a token is taken for a reservation")
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
			t.Errorf("the message %+v is written %q, want %q", got, got, text)
		}
	}
	for _, text := range []string{"", "x", "n", "nk", "n20", "n-1:k", "n65536:k", "n 1:k", "echo"} {
		if got, ok := ParseMessage(text); ok {
			t.Errorf("%q is taken for the message %+v", text, got)
		}
	}
}

// Whatever arrives is either no message or one that is written as it came, but for zeros.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"20:x", "gk", "n20:k", "~20:x", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if ticket, ok := ParseTicket(text); ok && ticket.String() != text {
			t.Errorf("the ticket %q is written %q", text, ticket)
		}
		if m, ok := ParseMessage(text); ok {
			if again, ok := ParseMessage(m.String()); !ok || again != m {
				t.Errorf("the message %q is written %q", text, m)
			}
		}
	})
}
