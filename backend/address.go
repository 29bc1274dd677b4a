package backend

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// PlainAddress reports whether address is a host name or an IP address, with or without a
// port. Anything else may contain a password, because somebody may have written a URL or
// a connection string in the wrong place, or forgotten the host. An adapter must not show
// it, not even as the name of a node.
func PlainAddress(address string) bool {
	if strings.ContainsFunc(address, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._:%[]", r)
	}) {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil { // no port, or not an address
		host, port = address, "0"
		if inner, ok := strings.CutPrefix(host, "["); ok {
			host = strings.TrimSuffix(inner, "]")
		}
	}
	if strings.ContainsAny(host, ":%") || strings.ContainsAny(address, "[]") {
		if _, err := netip.ParseAddr(host); err != nil {
			return false
		}
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// HideAddress returns err with a text that does not quote a URL or an address that the
// driver was given and could not use. Either may contain a password. An adapter must pass
// every error that is not an error reply through it. If the text quotes neither, it stays
// the same. The result matches the same errors as err. A nil err stays nil.
func HideAddress(err error) error {
	var (
		parse   *url.Error
		address *net.AddrError
		lookup  *net.DNSError
		network net.UnknownNetworkError
	)
	const notShown = " (not shown, because it may contain a password)"
	text := ""
	switch {
	case err == nil:
	case errors.As(err, &parse) && parse.Op == "parse":
		text = "the URL is malformed" + notShown + ": in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"
	case errors.As(err, &address):
		text = "the address" + notShown + " is not of the form host:port: " + strings.TrimSuffix(address.Err, " in address")
	case errors.As(err, &lookup) && !PlainAddress(lookup.Name):
		text = "the address" + notShown + " is not of the form host:port"
	case errors.As(err, &network):
		text = "the network" + notShown + " is unknown: want tcp or unix"
	}
	if text == "" || err.Error() == text {
		return err
	}
	return &hidden{err, text}
}

// hidden is an error with another text.
type hidden struct {
	err  error
	text string
}

func (e *hidden) Error() string { return e.text }
func (e *hidden) Unwrap() error { return e.err }
