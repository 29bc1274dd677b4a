package main

import (
	"crypto/x509"
	"errors"
	"strings"
)

// complainOfTLS is [complain] for an error of TLS. It returns false for any other error.
func complainOfTLS(err error) (complaint, bool) {
	if err == nil {
		return complaint{}, false
	}
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return complaint{"its certificate is signed by an authority that is not trusted here",
			"is it the right server? then name a file with the certificate of the authority: --tls-ca FILE, or tls_ca=FILE in the URL; SSL_CERT_FILE changes what this system trusts"}, true
	case errors.As(err, &name):
		return complaint{"its certificate is for another name: " + strings.TrimPrefix(name.Error(), "x509: "),
			"is it the right server? then give a name in its certificate: --tls-server-name NAME, or tls_server_name=NAME in the URL"}, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return complaint{"its certificate has expired or is not yet valid: " + invalid.Detail,
			"renew it on the server, or correct the clock of this machine"}, true
	case errors.As(err, &invalid):
		return complaint{"its certificate is not valid: " + strings.TrimPrefix(invalid.Error(), "x509: "), "the server needs another one"}, true
	}
	text := err.Error()
	if strings.Contains(text, "first record does not look like a TLS handshake") {
		return complaint{"it does not speak TLS", "write redis:// instead of rediss://"}, true
	}
	// What the server says of us.
	_, alert, ok := strings.Cut(text, "remote error: tls: ")
	switch {
	case !ok:
		return complaint{}, false
	case strings.HasPrefix(alert, "certificate required"):
		return complaint{"it wants a client certificate", "give one with --tls-cert FILE and --tls-key FILE, or with tls_cert= and tls_key= in the URL"}, true
	case strings.Contains(alert, "certificate"):
		return complaint{"it rejects the client certificate: " + alert,
			"does it trust the authority that has signed the one in --tls-cert, and is that still valid? CONFIG GET tls-ca-cert-file on the server names whom it trusts"}, true
	}
	return complaint{"it ends the TLS handshake: " + alert, "it may want a client certificate (--tls-cert and --tls-key), or another version of TLS"}, true
}
