package redlock

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/quorumlock/quorumlock/internal/handover"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Handover is what another process needs to continue with a lock ([Locker.Resume]) or
// to release it ([Locker.Release]): the key, the token and the fencing token. It comes
// from [Lock.Handover], or from [NewHandover] for a lock of another library.
//
// Keep it secret, because anyone who has it can release the lock. Packages fmt and
// log/slog do not show the token. [Handover.MarshalText] and encoding/json do.
type Handover struct {
	key    string
	token  *string // a pointer, so that fmt does not show it as a field of another struct
	fence  uint64
	shared bool
}

// NewHandover returns the Handover of a lock whose parts are known. key is the key on the
// servers, with the prefix ([WithKeyPrefix]). fence is 0 for a lock without a fencing
// token. The lock is not a shared one. The methods that use the Handover report bad values.
func NewHandover(key, token string, fence uint64) Handover {
	return Handover{key: key, token: &token, fence: fence}
}

// Handover returns what another process needs to continue with the lock. It asks no node
// and changes nothing: this process still holds the lock, and extends it if it did
// before.
//
// Only one process may use the lock. So the process that hands it over must no longer use
// or unlock it, and must end with [Locker.Close], because [Locker.Shutdown] would release
// it. The other process must call [Locker.Resume] before the lock expires.
func (l *Lock) Handover() Handover {
	h := NewHandover(l.fullKey(), l.Token(), l.Fence())
	h.shared = l.Shared()
	return h
}

// Key returns the key on the servers, with the prefix.
func (h Handover) Key() string { return h.key }

// Token returns the secret that proves ownership: see [Lock.Token].
func (h Handover) Token() string {
	if h.token == nil {
		return ""
	}
	return *h.token
}

// Fence returns the fencing token, or 0 if the lock has none: see [Lock.Fence].
func (h Handover) Fence() uint64 { return h.fence }

// Shared reports whether the lock is a shared one: see [Lock.Shared].
func (h Handover) Shared() bool { return h.shared }

// Owner returns the label of the process that acquired the lock ([WithOwner]), if any.
func (h Handover) Owner() string { return proto.OwnerOf(h.Token()) }

// String describes the lock without the token.
func (h Handover) String() string {
	lock := "lock"
	if h.shared {
		lock = "shared lock"
	}
	s := fmt.Sprintf("the %s %s of %s", lock, text.Quote(h.key), who(h.Owner(), proto.Fingerprint(h.Token())))
	if h.fence > 0 {
		s += fmt.Sprintf(" with the fencing token %d", h.fence)
	}
	return s
}

// Format writes String for every verb, so that no verb shows the token.
func (h Handover) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// LogValue returns String.
func (h Handover) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText returns the Handover, with the token, as one line of letters, digits and
// "-_.". The line is for a file, a header or the payload of a job:
//
//	redlock1.KEY.TOKEN.FENCE.SUM
//
// KEY and TOKEN are in base64 for URLs without padding (RFC 4648). FENCE is a decimal
// number, or "shared" for a shared lock, whose text earlier releases reject. SUM is the CRC-32 (IEEE) of everything before its dot, as eight lower-case
// hexadecimal digits. It shows whether the text is complete; it does not protect it from
// changes.
func (h Handover) MarshalText() ([]byte, error) {
	parts := h.parts()
	if err := parts.Check(); err != nil {
		return nil, fmt.Errorf("redlock: handover: %w", err)
	}
	return []byte(parts.Encode()), nil
}

// UnmarshalText reads what [Handover.MarshalText] has written, and nothing else: no
// spaces or line ends around it. After an error h is unchanged. The error shows no part
// of the text.
func (h *Handover) UnmarshalText(text []byte) error {
	read, err := handover.Parse(string(text))
	if err != nil {
		return fmt.Errorf("redlock: handover: %w", err)
	}
	*h = Handover{read.Key, &read.Token, read.Fence, read.Shared}
	return nil
}

func (h Handover) parts() handover.Parts {
	return handover.Parts{Key: h.key, Token: h.Token(), Fence: h.fence, Shared: h.shared}
}

// takes returns the key of h without the prefix of l, or why l cannot use h for op.
func (l *Locker) takes(op string, h Handover) (key string, err error) {
	if err := l.usable(); err != nil {
		return "", err
	}
	key, ok := strings.CutPrefix(h.key, l.settings.prefix)
	switch {
	case h.key == "" || ok && key == "":
		return "", fmt.Errorf("redlock: %s: an empty key", op)
	case !ok:
		return "", fmt.Errorf("redlock: %s %s: the key does not begin with the prefix of this Locker, %s", op, text.Quote(h.key), text.Quote(l.settings.prefix))
	}
	if err := h.parts().Check(); err != nil {
		return "", fmt.Errorf("redlock: %s %s: %w", op, text.Quote(h.key), err)
	}
	return key, l.check(op, key)
}
