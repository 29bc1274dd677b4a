package adapterkit

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxFile is the size in bytes above which a file is not what it should be.
const maxFile = 1 << 20

// A FileError says that a file cannot be used which a parameter of a URL names. Its text
// completes a sentence that begins with "the URL".
type FileError struct {
	Parameter string // such as "tls_ca"

	// Problem completes a sentence that begins with "the file", and says what to do. It
	// never shows what is in the file. It shows the name of the file only if that cannot
	// be something else, such as a password in the wrong place.
	Problem string

	err error
}

func (e *FileError) Error() string {
	return "names a file in " + e.Parameter + " that " + e.Problem
}

// Unwrap returns the error of the file system, or nil.
func (e *FileError) Unwrap() error { return e.err }

// Load reads the files that p names. It sets Password and SentinelPassword if they are in
// files, and TLSConfig if TLS is used. It fails if a user has no password then.
//
// It does no I/O but on these files. The error completes a sentence that begins with "the
// URL", and shows no secret. It is a [*FileError] if a file cannot be used. After an error
// p may be partly filled.
func (p *URL) Load() error {
	for _, password := range []struct {
		parameter, path string
		to              *string
	}{
		{"password_file", p.PasswordFile, &p.Password},
		{"sentinel_password_file", p.SentinelPasswordFile, &p.SentinelPassword},
	} {
		if password.path == "" {
			continue
		}
		text, err := ReadPassword(password.path)
		if err != nil {
			return fileError(password.parameter, err)
		}
		*password.to = text
	}
	switch {
	case p.User != "" && p.Password == "":
		return errors.New("has a user without a password: write a password alone as :PASSWORD@HOST")
	case p.SentinelUser != "" && p.SentinelPassword == "":
		return errors.New("has a sentinel_username without a password: want sentinel_password or sentinel_password_file")
	case !p.TLS:
		return nil
	}
	// Without a name, crypto/tls takes the host that is dialled. A Sentinel set and a
	// Cluster have many.
	p.TLSConfig = &tls.Config{ServerName: cmp.Or(p.ServerName, p.Host), MinVersion: tls.VersionTLS12}
	if p.CAFile != "" {
		roots, err := readRoots(p.CAFile)
		if err != nil {
			return fileError("tls_ca", err)
		}
		p.TLSConfig.RootCAs = roots
	}
	if p.CertFile == "" {
		return nil
	}
	cert, err := ReadFile(p.CertFile)
	if err != nil {
		return fileError("tls_cert", err)
	}
	key, err := ReadFile(p.KeyFile)
	if err != nil {
		return fileError("tls_key", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fileError("tls_cert", problem(p.CertFile, "cannot be used with the tls_key: "+strings.TrimPrefix(err.Error(), "tls: ")+
			"; want a certificate and its key in PEM, the key without a passphrase", err))
	}
	p.TLSConfig.Certificates = []tls.Certificate{pair}
	return nil
}

func readRoots(path string) (*x509.CertPool, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, problem(path, "has no certificate in it: want the certificate of the authority in PEM", nil)
	}
	return roots, nil
}

// ReadPassword returns the password in a file, without the end of its line. Its errors are
// those of [ReadFile].
func ReadPassword(path string) (string, error) {
	text, err := ReadFile(path)
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case password == "":
		return "", problem(path, "has an empty line in place of a password", nil)
	case strings.ContainsAny(password, "\r\n"):
		return "", problem(path, "has more than one line: want the password alone", nil)
	}
	return password, nil
}

// ReadFile returns what is in a small file. Its error is a [*FileError] without a
// Parameter.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case len(text) == 0:
		return nil, problem(path, "is empty", nil)
	case len(text) > maxFile:
		return nil, problem(path, "is larger than 1 MiB", nil)
	}
	return text, nil
}

// unreadable says why a file cannot be read.
func unreadable(path string, err error) error {
	reason := err
	var inner *fs.PathError
	if errors.As(err, &inner) {
		reason = inner.Err // without the name of the file
	}
	switch info, failed := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return problem(path, "does not exist", err)
	case errors.Is(err, fs.ErrPermission):
		return problem(path, "cannot be read by this user: check its owner and mode", err)
	case failed == nil && info.IsDir():
		return problem(path, "is a folder: want a file", err)
	}
	return problem(path, "cannot be read: "+reason.Error(), err)
}

// problem returns a FileError that names the file.
func problem(path, what string, err error) error {
	return &FileError{Problem: what + " (" + showPath(path) + ")", err: err}
}

// showPath returns the name of a file for an error. Somebody may have written a password
// or a key where the name of its file belongs. So it shows a name only if there is such a
// file, or a folder for it that is neither the root nor the current one.
func showPath(path string) string {
	_, err := os.Lstat(path)
	if folder := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && folder != filepath.Dir(folder) {
		_, err = os.Stat(folder)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return "its name is not shown, because it may be a password or a key in the wrong place"
	}
	return strconv.Quote(path)
}

// fileError returns err with the parameter that named the file.
func fileError(parameter string, err error) error {
	var file *FileError
	if errors.As(err, &file) {
		file.Parameter = parameter
	}
	return err
}
