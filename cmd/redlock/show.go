package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/internal/text"
)

// printLine prints one line on stderr. All output of the tool on stderr passes through
// it. So text from a server, a key, a label or an argument can neither control the
// terminal nor look like a second line.
func printLine(stderr io.Writer, line string) {
	_, _ = fmt.Fprintln(stderr, "redlock:", text.Escape(line))
}

const notShown = "(not shown, because it may contain a password)"

// argument formats an argument or the value of a variable for a message. The URL of a
// server may be in the wrong place, so argument hides anything that looks like one.
func argument(value string) string {
	if mayHoldPassword(value) {
		return notShown
	}
	return text.Quote(value)
}

func arguments(values []string) string {
	shown := make([]string, len(values))
	for i, v := range values {
		shown[i] = argument(v)
	}
	return strings.Join(shown, ", ")
}

// mayHoldPassword reports whether value looks like a URL or a connection string.
func mayHoldPassword(value string) bool {
	return strings.ContainsAny(value, "@") || strings.Contains(value, "://") || strings.Contains(strings.ToLower(value), "passw")
}

// isServer reports whether value is the URL of a server, even a malformed one.
func isServer(value string) bool {
	scheme, _, ok := strings.Cut(strings.ToLower(value), "://")
	name, _, _ := strings.Cut(scheme, "+")
	return ok && slices.Contains([]string{"redis", "rediss", "valkey", "valkeys", "unix"}, name)
}

var flagName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}$`)

// flagError returns what is wrong with a flag. It does not quote the argument, as errors
// of package pflag do, because the argument may be a URL, or a password that follows an
// unknown flag directly, as in -pSECRET.
func flagError(err error) string {
	var (
		unknown *pflag.NotExistError
		invalid *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		for _, letter := range unknown.GetSpecifiedName() {
			return fmt.Sprintf("unknown flag: -%c", letter)
		}
	case errors.As(err, &unknown) && !flagName.MatchString(unknown.GetSpecifiedName()):
		return "unknown flag: " + notShown
	case errors.As(err, &invalid) && mayHoldPassword(invalid.GetValue()):
		return fmt.Sprintf("invalid argument for --%s: %s", invalid.GetFlag().Name, notShown)
	case errors.As(err, &syntax):
		return "bad flag syntax: a flag is written --NAME or --NAME=VALUE"
	case errors.As(err, &missing):
		return "flag needs an argument: --" + missing.GetFlag().Name
	}
	return text.Line(err.Error())
}
