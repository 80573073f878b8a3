package cluster

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

func TestTheAuthoritySignsWhoTheComponentsAre(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := writePKI(config, dir, "example.internal", 4711); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(config, "pki/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	b, err := os.ReadFile(filepath.Join(config, "pki/apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	server, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes.default.svc", "kubernetes.default.svc.example.internal", apiService, "127.0.0.1"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Error(err)
		}
	}
	for file, want := range map[string]struct{ user, server string }{
		"kubeconfig":                     {"kubernetes-admin", "https://127.0.0.1:4711"},
		"config/kubelet.conf":            {"system:node:node1", "https://127.0.0.1:6443"},
		"config/kube-proxy.conf":         {"system:kube-proxy", "https://127.0.0.1:6443"},
		"config/scheduler.conf":          {"system:kube-scheduler", "https://127.0.0.1:6443"},
		"config/controller-manager.conf": {"system:kube-controller-manager", "https://127.0.0.1:6443"},
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		var k struct {
			Clusters []struct{ Cluster struct{ Server string } }
			Users    []struct {
				User struct {
					Cert []byte `json:"client-certificate-data"`
				}
			}
		}
		if err := json.Unmarshal(b, &k); err != nil || len(k.Clusters) != 1 || len(k.Users) != 1 {
			t.Errorf("%s: %v: %s", file, err, b)
			continue
		}
		block, _ := pem.Decode(k.Users[0].User.Cert)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if cert.Subject.CommonName != want.user || k.Clusters[0].Cluster.Server != want.server {
			t.Errorf("%s: %s at %s, want %+v", file, cert.Subject.CommonName, k.Clusters[0].Cluster.Server, want)
		}
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v: it holds a key", file, info.Mode(), err)
		}
	}
}
