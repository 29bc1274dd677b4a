package redlock

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// randomLen is the length of the random part of a token: 26 letters and digits,
// 130 bits.
const randomLen = 26

// newToken returns a token that has never been used: the owner's label, if there
// is one, and a random part.
func newToken(owner string) string {
	if owner == "" {
		return rand.Text()
	}
	return owner + ":" + rand.Text()
}

// ownerOf returns the label in a token of ours, or "".
func ownerOf(token string) string {
	i := len(token) - randomLen - 1
	if i <= 0 || token[i] != ':' || strings.Trim(token[i+1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return ""
	}
	return token[:i]
}

// fingerprint tells tokens apart without giving them away, for whoever has the
// token may unlock.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:4])
}
