package servers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// authority is a certificate authority and the certificates that it has signed, in PEM.
type authority struct {
	ca                    []byte
	serverCert, serverKey []byte
	clientCert, clientKey []byte
}

// testAuthority makes the authority at the first call.
var testAuthority = sync.OnceValue(func() *authority {
	a, err := newAuthority()
	if err != nil {
		panic(err) // no random numbers are available
	}
	return a
})

func newAuthority() (*authority, error) {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "quorumlock test authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sign := func(cert *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, []byte, error) {
		der, err := x509.CreateCertificate(rand.Reader, cert, root, &key.PublicKey, rootKey)
		if err != nil {
			return nil, nil, err
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		return encode("CERTIFICATE", der), encode("PRIVATE KEY", private), err
	}
	leaf := func(serial int64, name string, use x509.ExtKeyUsage) ([]byte, []byte, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		return sign(&x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: name},
			DNSNames:     []string{"localhost"},
			IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore:    root.NotBefore,
			NotAfter:     root.NotAfter,
			KeyUsage:     x509.KeyUsageDigitalSignature,
			ExtKeyUsage:  []x509.ExtKeyUsage{use},
		}, key)
	}
	var a authority
	if a.ca, _, err = sign(root, rootKey); err != nil {
		return nil, err
	}
	if a.serverCert, a.serverKey, err = leaf(2, "server", x509.ExtKeyUsageServerAuth); err != nil {
		return nil, err
	}
	a.clientCert, a.clientKey, err = leaf(3, "client", x509.ExtKeyUsageClientAuth)
	return &a, err
}

func encode(kind string, der []byte) []byte {
	var b bytes.Buffer
	pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a Buffer accepts everything
	return b.Bytes()
}

func (a *authority) clientConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.ca)
	pair, err := tls.X509KeyPair(a.clientCert, a.clientKey)
	if err != nil {
		panic(err) // made by newAuthority
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// TLSFiles writes into files what a client of a server started [WithTLS] needs, and returns their
// names: the authority's certificate, the client's certificate, and its key, in PEM. The files
// are removed with the test.
func (s *Server) TLSFiles(t testing.TB) (ca, cert, key string) {
	t.Helper()
	if s.spec.tls == nil {
		t.Fatal("servers: TLSFiles of a server without TLS")
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("ca.crt", s.spec.tls.ca), write("client.crt", s.spec.tls.clientCert), write("client.key", s.spec.tls.clientKey)
}
