package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// tlsFlags are the flags for TLS. They have the names of the URL's parameters, which
// override them. There is no flag that turns the check of certificates off: --tls-ca trusts
// even a certificate that a server has signed itself, and only that one.
type tlsFlags struct{ ca, cert, key, serverName string }

func (f *tlsFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.ca, "tls-ca", "", "`file` with the certificates of the authorities to trust, in PEM, for servers with TLS (default those of this system)")
	flags.StringVar(&f.cert, "tls-cert", "", "`file` with the client certificate for servers that ask for one, in PEM; with --tls-key")
	flags.StringVar(&f.key, "tls-key", "", "`file` with the key of that certificate, in PEM")
	flags.StringVar(&f.serverName, "tls-server-name", "", "`name` that the certificates of the servers must have (default the host in the URL)")
}

// used returns the name of a flag that is given, or "".
func (f tlsFlags) used() string {
	for _, flag := range []struct{ name, value string }{
		{"tls-ca", f.ca}, {"tls-cert", f.cert}, {"tls-key", f.key}, {"tls-server-name", f.serverName},
	} {
		if flag.value != "" {
			return flag.name
		}
	}
	return ""
}

// check reads the files, so that an error names the flag.
func (f tlsFlags) check() error {
	if (f.cert == "") != (f.key == "") {
		return errors.New("--tls-cert and --tls-key belong together: give both, which may be the same file")
	}
	u := adapterkit.URL{TLS: true}
	f.fill(&u)
	err := u.Load()
	var file *adapterkit.FileError
	if errors.As(err, &file) {
		return fmt.Errorf("--%s: the file %s", strings.ReplaceAll(file.Parameter, "_", "-"), file.Problem)
	}
	return err
}

// fill sets what u does not say.
func (f tlsFlags) fill(u *adapterkit.URL) {
	if u.CAFile == "" {
		u.CAFile = f.ca
	}
	if u.CertFile == "" {
		u.CertFile, u.KeyFile = f.cert, f.key
	}
	if u.ServerName == "" {
		u.ServerName = f.serverName
	}
}
