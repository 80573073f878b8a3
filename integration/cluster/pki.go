package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the cluster's certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pair
}

// pair is a certificate and its key, both PEM.
type pair struct{ cert, key []byte }

// writePKI writes the certificates and kubeconfigs that kubeadm would write,
// for a cluster that lives for a year at most, below config; and to dir
// the kubeconfig of an administrator outside, who meets the API server on
// port of 127.0.0.1.
func writePKI(config, dir, domain string, port int) error {
	ca, err := newAuthority("kubernetes")
	if err != nil {
		return err
	}
	server, err := ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain, "localhost"},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(apiService), net.ParseIP(node4)},
	})
	if err != nil {
		return err
	}
	toKubelet, err := ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	front, err := newAuthority("front-proxy-ca")
	if err != nil {
		return err
	}
	frontClient, err := front.client("front-proxy-client")
	if err != nil {
		return err
	}
	accounts, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	accountsKey, err := keyPEM(accounts)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		return err
	}
	out := map[string][]byte{
		"pki/ca.crt":                       ca.pair.cert,
		"pki/ca.key":                       ca.pair.key,
		"pki/apiserver.crt":                server.cert,
		"pki/apiserver.key":                server.key,
		"pki/apiserver-kubelet-client.crt": toKubelet.cert,
		"pki/apiserver-kubelet-client.key": toKubelet.key,
		"pki/front-proxy-ca.crt":           front.pair.cert,
		"pki/front-proxy-client.crt":       frontClient.cert,
		"pki/front-proxy-client.key":       frontClient.key,
		"pki/sa.key":                       accountsKey,
		"pki/sa.pub":                       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
	}
	for file, who := range map[string][]string{ // user, groups
		"controller-manager.conf": {"system:kube-controller-manager"},
		"scheduler.conf":          {"system:kube-scheduler"},
		"kubelet.conf":            {"system:node:" + nodeName, "system:nodes"},
		"kube-proxy.conf":         {"system:kube-proxy"},
		"admin.conf":              {"kubernetes-admin", "system:masters"},
	} {
		client, err := ca.client(who[0], who[1:]...)
		if err != nil {
			return err
		}
		server := apiServer
		if file == "admin.conf" {
			server = fmt.Sprintf("127.0.0.1:%d", port)
		}
		if out[file], err = kubeconfig("https://"+server, ca.pair.cert, client); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(config, "pki"), 0o700); err != nil {
		return err
	}
	for file, content := range out {
		if err := os.WriteFile(filepath.Join(config, file), content, 0o600); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(config, "admin.conf"), filepath.Join(dir, "kubeconfig"))
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := valid(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	if err != nil {
		return nil, err
	}
	p, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	return &authority{cert: template, key: key, pair: p}, nil
}

func (a *authority) client(name string, groups ...string) (pair, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) issue(template *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template, err = valid(template); err != nil {
		return pair{}, err
	}
	return sign(template, a.cert, key, a.key)
}

func valid(template *x509.Certificate) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(1, 0, 0)
	return template, nil
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) (pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return pair{}, err
	}
	private, err := keyPEM(key)
	return pair{cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: private}, err
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// kubeconfig returns a file that holds all it needs. It is JSON, which is YAML.
func kubeconfig(server string, ca []byte, client pair) ([]byte, error) {
	type m = map[string]any
	return json.MarshalIndent(m{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "podfqdn",
		"clusters":        []m{{"name": "podfqdn", "cluster": m{"server": server, "certificate-authority-data": ca}}},
		"users":           []m{{"name": "podfqdn", "user": m{"client-certificate-data": client.cert, "client-key-data": client.key}}},
		"contexts":        []m{{"name": "podfqdn", "context": m{"cluster": "podfqdn", "user": "podfqdn"}}},
	}, "", "  ")
}
