package adapterkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// write puts text into a file and returns its name.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadPasswords(t *testing.T) {
	for text, want := range map[string]string{
		"p": "p", "p\n": "p", "p\r\n": "p", " p \n": " p ", "p@/#\n": "p@/#",
	} {
		u, err := load("redis+sentinel://u@h?master_name=m&sentinel_username=s&password_file=" + write(t, "p", text) + "&sentinel_password_file=" + write(t, "s", "of "+text))
		if err != nil || u.Password != want || u.SentinelPassword != "of "+want {
			t.Errorf("%q: %q, %q, %v", text, u.Password, u.SentinelPassword, err)
		}
	}
}

// The error names the parameter and the file, and shows nothing of what is in it.
func TestLoadRefuses(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	folder := t.TempDir()
	locked := write(t, "locked", secret)
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t)
	_, otherKey := certificate(t)
	for _, tt := range []struct{ name, query, want string }{
		{"missing", "password_file=" + filepath.Join(folder, "none"), `names a file in password_file that does not exist ("` + folder},
		{"missing folder", "password_file=" + filepath.Join(folder, "none", secret), "does not exist (its name is not shown"},
		{"a password instead of its file", "password_file=" + secret, "does not exist (its name is not shown"},
		{"a password with a slash", "password_file=/" + secret, "does not exist (its name is not shown"},
		{"a key instead of its file", "tls_ca=-----BEGIN%20KEY-----%0A" + strings.Repeat(secret, 100), "its name is not shown"},
		{"empty", "password_file=" + write(t, "empty", ""), "is empty"},
		{"empty line", "password_file=" + write(t, "line", "\n"), "has an empty line in place of a password"},
		{"two lines", "password_file=" + write(t, "two", secret+"\n"+secret+"\n"), "has more than one line"},
		{"a folder", "password_file=" + folder, "is a folder: want a file"},
		{"too large", "tls_ca=" + write(t, "large", strings.Repeat(secret, 1<<17)), "is larger than 1 MiB"},
		{"unreadable", "password_file=" + locked, "a file in password_file that cannot be read by this user: check"},
		{"no certificate", "tls_ca=" + write(t, "ca", secret), "tls_ca that has no certificate in it"},
		{"no pair", "tls_cert=" + write(t, "c", secret) + "&tls_key=" + key, "tls_cert that cannot be used with the tls_key: failed to find any PEM data"},
		{"another key", "tls_cert=" + cert + "&tls_key=" + otherKey, "private key does not match public key"},
		{"no key", "tls_cert=" + cert + "&tls_key=" + filepath.Join(folder, "none"), "a file in tls_key that does not exist"},
		{"switched", "tls_cert=" + key + "&tls_key=" + cert, "cannot be used with the tls_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "unreadable" && (os.Getuid() == 0 || runtime.GOOS == "windows") {
				t.Skip("this user may read every file")
			}
			_, err := load("rediss://h?" + tt.query)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if part := leak(err.Error(), secret); part != "" {
				t.Errorf("the error shows %q: %v", part, err)
			}
			var file *FileError
			if !errors.As(err, &file) || !strings.Contains(tt.query, file.Parameter+"=") {
				t.Errorf("error %#v, want a FileError with the parameter", err)
			}
			if strings.HasPrefix(tt.name, "missing") && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v does not match fs.ErrNotExist", err)
			}
		})
	}
}

func TestLoadTLS(t *testing.T) {
	cert, key := certificate(t)
	both := write(t, "both", read(t, cert)+read(t, key))
	for _, tt := range []struct {
		url, serverName string
		roots, own      bool
	}{
		{"rediss://h", "h", false, false},
		{"rediss://h?tls_server_name=n", "n", false, false},
		{"rediss+cluster://h", "", false, false},
		{"rediss+cluster://h?tls_server_name=n", "n", false, false},
		{"rediss://h?tls_ca=" + cert, "h", true, false},
		{"rediss://h?tls_cert=" + cert + "&tls_key=" + key, "h", false, true},
		{"rediss+sentinel://h?master_name=m&tls_ca=" + cert + "&tls_cert=" + both + "&tls_key=" + both, "", true, true},
	} {
		u, err := load(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		c := u.TLSConfig
		if c == nil || c.ServerName != tt.serverName || (c.RootCAs != nil) != tt.roots || (len(c.Certificates) == 1) != tt.own ||
			c.MinVersion != tls.VersionTLS12 || c.InsecureSkipVerify {
			t.Errorf("%s: %+v", tt.url, c)
		}
	}
	if u, err := load("redis://h"); err != nil || u.TLSConfig != nil {
		t.Errorf("without TLS: %v, %v", u.TLSConfig, err)
	}
}

// No error shows what is in a file.
func FuzzLoad(f *testing.F) {
	const secret = "Zq7Xv9Kw3J"
	cert, key := certificate(f)
	f.Add("password_file", "", "\n")
	f.Add("tls_ca", "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n")
	f.Add("tls_cert", read(f, cert), read(f, key))
	f.Add("tls_cert", "-----BEGIN ", "-----\nAAAA\n-----END X-----\n")
	f.Fuzz(func(t *testing.T, parameter, before, after string) {
		path := write(t, "f", before+secret+after)
		u := URL{TLS: true}
		switch parameter {
		case "password_file":
			u.PasswordFile = path
		case "tls_ca":
			u.CAFile = path
		default:
			u.CertFile, u.KeyFile = path, path
		}
		if err := u.Load(); err != nil {
			if part := leak(strings.ReplaceAll(err.Error(), path, ""), secret); part != "" && leak(before+after, secret) == "" {
				t.Errorf("the error shows %q: %v", part, err)
			}
		}
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// certificate returns the names of files with a certificate that has signed itself, and
// its key.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}
