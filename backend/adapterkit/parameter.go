package adapterkit

import (
	"errors"
	"regexp"
	"slices"
)

// masterName matches the names that Sentinel allows.
var masterName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// take takes the parameters that [ParseURL] knows out of p.Parameters. kind is what the
// scheme says after its +.
func (p *URL) take(kind string) error {
	for _, parameter := range []struct {
		name string
		to   *string
		kind string // "tls", or the only kind that it is for
	}{
		{"password_file", &p.PasswordFile, ""},
		{"tls_ca", &p.CAFile, "tls"},
		{"tls_cert", &p.CertFile, "tls"},
		{"tls_key", &p.KeyFile, "tls"},
		{"tls_server_name", &p.ServerName, "tls"},
		{"master_name", &p.MasterName, "sentinel"},
		{"sentinel_username", &p.SentinelUser, "sentinel"},
		{"sentinel_password", &p.SentinelPassword, "sentinel"},
		{"sentinel_password_file", &p.SentinelPasswordFile, "sentinel"},
	} {
		values, ok := p.Parameters[parameter.name]
		if !ok {
			continue
		}
		delete(p.Parameters, parameter.name)
		switch {
		case len(values) > 1:
			return errors.New("has the parameter " + parameter.name + " more than once: want it once")
		case values[0] == "":
			return errors.New("has the parameter " + parameter.name + " without a value: write " + parameter.name + "=VALUE, or leave it out")
		case parameter.kind == "tls" && !p.TLS:
			return errors.New("has the parameter " + parameter.name + ", but does not use TLS: write rediss instead of redis in its scheme")
		case parameter.kind == "sentinel" && kind != "sentinel":
			return errors.New("has the parameter " + parameter.name + ", which is for a Sentinel set: write redis+sentinel://")
		}
		*parameter.to = values[0]
	}
	for _, addr := range p.Parameters["addr"] {
		if p.Addresses == nil {
			return errors.New("has the parameter addr, which is for several addresses of one node: write redis+sentinel:// for a Sentinel set, and redis+cluster:// for a Cluster")
		}
		defaultPort := "6379"
		if kind == "sentinel" {
			defaultPort = "26379"
		}
		_, address, err := splitAddress(addr, defaultPort)
		if err != nil || addr == "" {
			return errors.New("has an addr that cannot be an address: want addr=host:" + defaultPort)
		}
		if !slices.Contains(p.Addresses, address) {
			p.Addresses = append(p.Addresses, address)
		}
	}
	p.Parameters.Del("addr")

	switch {
	case kind == "sentinel" && !masterName.MatchString(p.MasterName):
		return errors.New("lacks a valid master_name: want ?master_name=NAME, as the sentinels call it, of letters, digits, dots, dashes and underscores")
	case p.Cluster && p.DB != 0:
		return errors.New("names a database other than 0, which a Cluster does not have: want none")
	case p.Password != "" && p.PasswordFile != "":
		return errors.New("has a password and a password_file: want one of them")
	case p.SentinelPassword != "" && p.SentinelPasswordFile != "":
		return errors.New("has a sentinel_password and a sentinel_password_file: want one of them")
	case (p.CertFile == "") != (p.KeyFile == ""):
		return errors.New("has only one of tls_cert and tls_key: want both, which may be the same file")
	}
	return nil
}
