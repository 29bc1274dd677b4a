package main

import (
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// Variables with the password for all servers, and with that for the sentinels. The same
// names with _FILE name a file.
const (
	passwordVariable         = "REDLOCK_PASSWORD"
	sentinelPasswordVariable = "REDLOCK_SENTINEL_PASSWORD"
	fileSuffix               = "_FILE"
)

// A secret says where the tool finds a password, unless the URL of a server has one.
type secret struct {
	flag     string // names a file
	file     string // the value of the flag
	variable string
}

// read returns the password, or "" if there is none.
func (s secret) read(getenv func(string) string) (string, error) {
	fileVariable := s.variable + fileSuffix
	text, file := getenv(s.variable), getenv(fileVariable)
	from := fileVariable
	switch {
	case s.file != "":
		from, file = "--"+s.flag, s.file
	case text != "" && file != "":
		return "", fmt.Errorf("%s and %s are both set: unset one of them", s.variable, fileVariable)
	case file == "":
		return text, nil
	}
	text, err := adapterkit.ReadPassword(file)
	return text, fromFile(from, err)
}

// fromFile returns an error about a file, with what has named the file.
func fromFile(from string, err error) error {
	var file *adapterkit.FileError
	if errors.As(err, &file) {
		return fmt.Errorf("%s: the file %s", from, file.Problem)
	}
	return err
}
