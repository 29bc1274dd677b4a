package proto

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// randomLen is the length of the random part of a token: 26 letters and digits, 130 bits.
const randomLen = 26

// NewToken returns a token that has never been used: the owner's label, if there is one,
// and a random part.
func NewToken(owner string) string {
	if owner == "" {
		return rand.Text()
	}
	return owner + ":" + rand.Text()
}

// Foreign reports whether another library has the lock. end is the end of the lock's
// value, at least randomLen + 1 bytes if there are as many. It is foreign if it is
// neither that of a token of ours, nor that of a reservation, nor what marks readers. A
// token of another library may look like one of ours by chance.
func Foreign(end string) bool {
	if end == SharedValue { // readers of ours
		return false
	}
	i := len(end) - randomLen
	return i < 0 || i > 0 && end[i-1] != ':' || !isRandom(end[i:])
}

// isRandom reports whether text consists of letters and digits that rand.Text uses.
func isRandom(text string) bool {
	return strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// OwnerOf returns the label in a token of ours, or "".
func OwnerOf(token string) string {
	i := len(token) - randomLen - 1
	if i <= 0 || token[i] != ':' || !isRandom(token[i+1:]) {
		return ""
	}
	return token[:i]
}

// Fingerprint returns a short hash of a token. It distinguishes tokens without revealing
// them, because anyone who has a token can unlock.
func Fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:4])
}

// IsFingerprint reports whether s has the form of a fingerprint.
func IsFingerprint(s string) bool {
	return len(s) == len(Fingerprint("")) && strings.Trim(s, "0123456789abcdef") == ""
}
