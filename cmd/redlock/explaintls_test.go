package main

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/long"
)

// What can go wrong with certificates, in both versions of TLS, with what to do about it.
func TestComplainOfCertificates(t *testing.T) {
	long.Test(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	hour := time.Now().Add(time.Hour)
	cert, key := ours.leaf("", hour)
	expiredCert, expiredKey := ours.leaf("", time.Now().Add(-time.Hour))
	namedCert, namedKey := ours.leaf("redis.example", hour)
	otherCert, otherKey := theirs.leaf("", hour)
	for version, maxVersion := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		plain := handshakes(t, cert, key, nil, maxVersion)
		named := handshakes(t, namedCert, namedKey, nil, maxVersion)
		asks := handshakes(t, cert, key, ours, maxVersion)
		noCertificate := "it wants a client certificate (give one with --tls-cert FILE"
		if maxVersion == tls.VersionTLS12 { // whose alert is less clear
			noCertificate = "--tls-cert"
		}
		for name, tt := range map[string]struct {
			addr  string
			flags []string
			says  []string
		}{
			"unknown authority": {plain, nil, []string{"its certificate is signed by an authority that is not trusted here", "--tls-ca FILE"}},
			"wrong authority":   {plain, []string{"--tls-ca", theirs.ca}, []string{"its certificate is signed by an authority that is not trusted here", "--tls-ca FILE"}},
			"expired": {handshakes(t, expiredCert, expiredKey, nil, maxVersion), []string{"--tls-ca", ours.ca},
				[]string{"its certificate has expired or is not yet valid: current time ", "renew it"}},
			"wrong name":            {named, []string{"--tls-ca", ours.ca}, []string{"its certificate is for another name: ", "--tls-server-name NAME"}},
			"wrong given name":      {plain, []string{"--tls-ca", ours.ca, "--tls-server-name", "other.example"}, []string{"its certificate is for another name: ", "other.example"}},
			"no client certificate": {asks, []string{"--tls-ca", ours.ca}, []string{noCertificate}},
			"wrong client certificate": {asks, []string{"--tls-ca", ours.ca, "--tls-cert", otherCert, "--tls-key", otherKey},
				[]string{"it rejects the client certificate: ", "--tls-cert"}},
			"expired client certificate": {asks, []string{"--tls-ca", ours.ca, "--tls-cert", expiredCert, "--tls-key", expiredKey},
				[]string{"it rejects the client certificate: ", "still valid"}},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				code, _, stderr := inProcess(slices.Concat([]string{"run", "--wait", "0", "--node", "rediss://" + tt.addr}, tt.flags, []string{"job", "--", "true"})...)
				if code != runServers || strings.Count(stderr, "\n") != 1 {
					t.Errorf("code %d, stderr %q, want %d and one line", code, stderr, runServers)
				}
				for _, want := range append(tt.says, tt.addr+": ") {
					if !strings.Contains(stderr, want) {
						t.Errorf("stderr %q, want %q", stderr, want)
					}
				}
			})
		}
		for name, flags := range map[string][]string{
			"all is well":              {"rediss://" + asks, "--tls-ca", ours.ca, "--tls-cert", cert, "--tls-key", key},
			"all is well, in the URL":  {"rediss://" + asks + "?tls_ca=" + ours.ca + "&tls_cert=" + cert + "&tls_key=" + key},
			"the URL overrides a flag": {"rediss://" + asks + "?tls_ca=" + ours.ca + "&tls_cert=" + cert + "&tls_key=" + key, "--tls-ca", theirs.ca},
			"the right name":           {"rediss://" + named, "--tls-ca", ours.ca, "--tls-server-name", "redis.example"},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				// The server says nothing once it has let the client in.
				code, _, stderr := inProcess(slices.Concat([]string{"run", "--wait", "0", "--node-timeout", "300ms", "--node"}, flags, []string{"job", "--", "true"})...)
				if code != runServers || !strings.Contains(stderr, "no answer within") {
					t.Errorf("code %d, stderr %q, want a server that lets the client in and does not answer", code, stderr)
				}
			})
		}
	}
}

// Wrong flags for TLS are found before anything is sent.
func TestTLSFlags(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.leaf("", time.Now().Add(time.Hour))
	for args, says := range map[string]string{
		"--tls-ca /no/such/file":                            "--tls-ca: the file does not exist (its name is not shown",
		"--tls-ca " + t.TempDir() + "/none":                 "/none\")",
		"--tls-ca " + key:                                   "--tls-ca: the file has no certificate in it",
		"--tls-cert " + cert:                                "--tls-cert and --tls-key belong together",
		"--tls-key " + key:                                  "--tls-cert and --tls-key belong together",
		"--tls-cert " + key + " --tls-key " + cert:          "--tls-cert: the file cannot be used with the tls_key",
		"--tls-ca " + a.ca:                                  "--tls-ca has no effect, because no server is reached over TLS: write rediss://",
		"--tls-server-name h":                               "--tls-server-name has no effect",
		"--node rediss://h?tls_ca=/no/such/file":            "--node: the URL names a file in tls_ca that does not exist",
		"--node redis://h?tls_ca=" + a.ca:                   "--node: the URL has the parameter tls_ca, but does not use TLS: write rediss",
		"--node redis://h,rediss://h2?tls_cert=" + a.ca:     "--node: entry 2 of 2: the URL has only one of tls_cert and tls_key",
		"--node valkey+sentinel://h?tls_ca=x&master_name=m": "does not use TLS",
	} {
		t.Run(args, func(t *testing.T) {
			code, _, stderr := inProcess(append([]string{"end-quarantine"}, strings.Fields(args)...)...)
			if code != exitUsage || !strings.Contains(stderr, says) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, stderr %q, want %d and %q", code, stderr, exitUsage, says)
			}
		})
	}
}
