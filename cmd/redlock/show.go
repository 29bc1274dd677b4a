package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/internal/text"
)

// printLine prints one line on stderr. Everything that the tool says there passes
// through it, so nothing that a server, a key, a label or an argument contains can
// control the terminal or look like a second line.
func printLine(stderr io.Writer, line string) {
	_, _ = fmt.Fprintln(stderr, "redlock:", text.Escape(line))
}

const notShown = "(not shown, because it may contain a password)"

// argument returns an argument or the value of a variable for a message. The URL of a
// server can be in the wrong place, so what looks like one is not shown.
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

// mayHoldPassword reports whether value looks like a URL, or like a connection string.
func mayHoldPassword(value string) bool {
	return strings.ContainsAny(value, "@") || strings.Contains(value, "://") || strings.Contains(strings.ToLower(value), "passw")
}

// isServer reports whether value is the URL of a server, well-formed or not.
func isServer(value string) bool {
	value = strings.ToLower(value)
	for _, scheme := range []string{"redis://", "rediss://", "valkey://", "valkeys://", "unix://"} {
		if strings.HasPrefix(value, scheme) {
			return true
		}
	}
	return false
}

var flagName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}$`)

// flagError returns what is wrong with a flag. The errors of package pflag quote the
// whole argument, which may be a password that is stuck to an unknown flag, as in
// -pSECRET, or a URL.
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
