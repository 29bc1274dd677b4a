// Package handover writes and reads the text of a handover. Its form is a contract between
// releases. Handover.MarshalText in package redlock describes it. Each handover has exactly
// one text.
package handover

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// Parts are what another process needs to continue with a lock. The token is a secret.
type Parts struct {
	Key, Token string
	Fence      uint64 // 0: none
	Shared     bool
}

// MostFence is the highest fencing token, because it is the highest value of a counter
// (package lua).
const MostFence = 1<<53 - 1

// Check rejects values that no lock has.
func (p Parts) Check() error {
	_, reserved := proto.Reserved(p.Token)
	switch {
	case p.Key == "":
		return errors.New("an empty key")
	case p.Token == "":
		return errors.New("an empty token")
	case reserved:
		return errors.New("a token must not begin with ~, which marks reservations")
	case p.Fence > MostFence:
		return fmt.Errorf("a fencing token of %d: must be from 1 to 2^53 - 1, or 0 for none", p.Fence)
	}
	return nil
}

// version is how the text begins.
const version = "redlock1"

// sharedFence takes the place of the fencing token of a shared lock.
const sharedFence = "shared"

// Encode returns the text of p.
func (p Parts) Encode() string {
	base64 := base64.RawURLEncoding
	fence := strconv.FormatUint(p.Fence, 10)
	if p.Shared {
		fence = sharedFence
	}
	s := strings.Join([]string{version, base64.EncodeToString([]byte(p.Key)), base64.EncodeToString([]byte(p.Token)), fence}, ".")
	return fmt.Sprintf("%s.%08x", s, crc32.ChecksumIEEE([]byte(s)))
}

// Parse reads what Encode has written, and nothing else. It also rejects what Check does.
// The error shows no part of the text.
func Parse(s string) (Parts, error) {
	fields := strings.SplitN(s, ".", 6)
	switch {
	case s == "":
		return Parts{}, errors.New("an empty text")
	case strings.ContainsAny(s, " \t\r\n"):
		return Parts{}, errors.New("spaces or line ends in the text")
	case !strings.HasPrefix(s, "redlock"):
		return Parts{}, errors.New("not the text of a handover")
	case fields[0] != version:
		return Parts{}, errors.New("the text of another version")
	case len(fields) != 5:
		return Parts{}, fmt.Errorf("%d parts instead of 5: the text is not complete, or not that of a handover", len(fields))
	}
	key, err1 := base64.RawURLEncoding.DecodeString(fields[1])
	token, err2 := base64.RawURLEncoding.DecodeString(fields[2])
	p := Parts{Key: string(key), Token: string(token), Shared: fields[3] == sharedFence}
	var err3 error
	if !p.Shared {
		p.Fence, err3 = strconv.ParseUint(fields[3], 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || p.Encode() != s {
		return Parts{}, errors.New("the text is not complete, or was changed")
	}
	if err := p.Check(); err != nil {
		return Parts{}, err
	}
	return p, nil
}
