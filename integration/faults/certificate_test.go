//go:build faults

package faults

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity/podtest"
)

// certified is a Pod with a certificate.
type certified struct {
	*life
	mount   podtest.Mount // the Secret
	private [][]byte      // PEM of every key that was ever in it
}

// certify has the Pod need a certificate.
func certify(l *life) *certified {
	l.Helper()
	s := &certified{life: l, mount: podtest.Mount{Dir: filepath.Join(l.root, "tls")}}
	l.do(os.Mkdir(s.mount.Dir, 0o755))
	l.environ = append(l.environ, "PODFQDN_TLS="+s.mount.Dir)
	return s
}

// has has the Secret be a certificate, its key, and perhaps something else in place of these.
func (s *certified) has(c podtest.Certificate, instead map[string][]byte) {
	s.Helper()
	issued := c.Issue()
	s.private = append(s.private, issued.KeyPEM())
	files := map[string][]byte{"tls.crt": issued.PEM(), "tls.key": issued.KeyPEM()}
	for name, data := range instead {
		files[name] = data
	}
	s.do(s.mount.Set(files))
}

// replace has something else stand in the place of a file that is mounted.
func (s *certified) replace(name string, make func(path string) error) {
	s.Helper()
	version, err := os.Readlink(filepath.Join(s.mount.Dir, "..data"))
	path := filepath.Join(s.mount.Dir, version, name)
	s.do(err, os.Remove(path), make(path))
}

// secret checks that no key is in an output, or in what everybody mounts (I5).
func (s *certified) secret(e end) {
	s.Helper()
	texts := map[string][]byte{"the log": []byte(e.log), "the reason": []byte(e.reason)}
	s.do(filepath.WalkDir(s.dir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		texts[path], err = os.ReadFile(path)
		return err
	}))
	for where, text := range texts {
		for _, key := range s.private {
			block, _ := pem.Decode(key)
			for form, spelling := range map[string][]byte{
				"PEM": bytes.ReplaceAll(key, []byte("\n"), nil), "DER": block.Bytes, "base64": []byte(base64.URLEncoding.EncodeToString(block.Bytes)),
			} {
				for i := 30; i+16 < len(spelling)-30; i += 8 {
					if bytes.Contains(text, spelling[i:i+16]) {
						s.Fatalf("I5: the key is in %s, as %s", where, form)
					}
				}
			}
		}
	}
}

// A case is what becomes of the certificate, and how the run ends.
func TestCertificate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	miss := podtest.Certificate{Names: []string{"*.db.default.svc", "localhost"}}
	encrypted := func() []byte {
		key := podtest.Certificate{}.Issue().Key
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	}()
	fifo := func(path string) error { return syscall.Mkfifo(path, 0o600) }
	for name, c := range map[string]struct {
		certificate podtest.Certificate
		instead     map[string][]byte
		lay         func(s *certified)
		later       func(s *certified, r *running)
		code        int
		says        string
		environ     []string
	}{
		"it is there":                {},
		"a wildcard":                 {certificate: podtest.Certificate{Names: []string{"*.db.default.svc.cluster.local"}}},
		"without the cluster domain": {certificate: miss, code: 16, says: "has *.db.default.svc, which lacks the cluster domain cluster.local"},
		"another Pod's":              {certificate: podtest.Certificate{Names: []string{"db-1.db.default.svc.cluster.local"}}, code: 16, says: "with db-1 in place of db-0"},
		"the common name alone":      {certificate: podtest.Certificate{Names: []string{}, CommonName: db0}, code: 16, says: "only as its common name (CN)"},
		"escapes in its names":       {certificate: podtest.Certificate{Names: []string{"\x1b[31m.example"}, CommonName: "\x07"}, code: 16, says: `has only "\x1b[31m.example"`},
		"expired":                    {certificate: podtest.Certificate{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}, code: 16, says: "expired at "},
		"not yet valid":              {certificate: podtest.Certificate{NotBefore: now.Add(time.Hour)}, code: 16, says: "is not valid before "},
		"it becomes valid": {lay: func(s *certified) {
			s.has(podtest.Certificate{NotBefore: time.Now().Truncate(time.Second).Add(8 * time.Second)}, nil)
		}, later: func(s *certified, r *running) { r.says("is not valid before") }},
		"an encrypted key":           {instead: map[string][]byte{"tls.key": encrypted}, code: 16, says: "is an encrypted private key"},
		"another key":                {instead: map[string][]byte{"tls.key": podtest.Certificate{}.Issue().KeyPEM()}, code: 16, says: "does not belong to the certificate"},
		"another CA":                 {instead: map[string][]byte{"ca.crt": podtest.Certificate{CA: true, CommonName: "ca\x1b"}.Issue().PEM()}, code: 16, says: `does not chain to ca.crt`},
		"a certificate of a MiB":     {certificate: podtest.Certificate{Padding: 1 << 20}},
		"a MiB of names":             {certificate: podtest.Certificate{Names: slices.Repeat([]string{strings.Repeat("a.", 120) + "b"}, 4000)}, code: 16, says: "and 3995 more"},
		"5 MiB":                      {instead: map[string][]byte{"tls.key": make([]byte, 5<<20)}, code: 16, says: "is too large"},
		"NUL":                        {instead: map[string][]byte{"tls.crt": make([]byte, 4096)}, code: 16, says: "has no PEM certificate in it"},
		"no files":                   {lay: func(s *certified) { s.do(s.mount.Set(nil)) }, code: 16, says: "is empty: what issues the certificate has not put"},
		"no directory":               {lay: func(s *certified) { s.do(os.RemoveAll(s.mount.Dir)) }, code: 16, says: "does not exist: mount what holds the certificate there"},
		"a FIFO in place of the key": {lay: func(s *certified) { s.replace("tls.key", fifo) }, code: 10, says: "is a FIFO"},
		"a FIFO in place of all":     {lay: func(s *certified) { s.do(os.RemoveAll(s.mount.Dir), fifo(s.mount.Dir)) }, code: 10, says: "is a FIFO"},
		"a device in place of the chain": {lay: func(s *certified) {
			s.replace("tls.crt", func(path string) error { return os.Symlink("/dev/zero", path) })
		}, code: 10, says: "is a device"},
		"a link to itself": {lay: func(s *certified) {
			s.replace("tls.key", func(path string) error { return os.Symlink("tls.key", path) })
		}, code: 16, says: "too many levels of symbolic links"},
		"next to the identity": {environ: []string{"PODFQDN_TLS={root}/identity/tls"}, code: 10, says: "which everybody can read"},
		"it comes after the process has started": {lay: func(s *certified) { s.do(os.RemoveAll(s.mount.Dir), os.Mkdir(s.mount.Dir, 0o755)) }, later: func(s *certified, r *running) {
			r.says("is empty: what issues the certificate has not put")
			s.has(podtest.Certificate{}, nil)
		}},
		"the right one comes after another": {certificate: miss, later: func(s *certified, r *running) {
			r.says("which lacks the cluster domain")
			s.has(podtest.Certificate{}, nil)
		}},
		"rotation while it is read": {certificate: miss, later: func(s *certified, r *running) {
			r.says("which lacks the cluster domain")
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
				s.has(miss, nil)
			}
			s.has(podtest.Certificate{}, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "Certificate")
			l.cluster.Publish(ours())
			s := certify(l)
			plain := slices.Clone(l.environ)
			s.has(c.certificate, c.instead)
			if c.lay != nil {
				c.lay(s)
			}
			for _, v := range c.environ {
				l.environ = append(l.environ, strings.ReplaceAll(v, "{root}", l.root))
			}
			if c.code != 0 {
				l.timeout = 4 * time.Second // a rotation has two
			}
			read := l.reader()
			r := l.start(exec.Command(podfqdn, "init"))
			if c.later != nil {
				c.later(s, r)
			}
			e := r.wait()
			read()
			l.check(e)
			s.secret(e)
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, c.code, c.says, e.log)
			}
			if strings.Contains(e.log, "does not belong to") && name != "another key" {
				t.Errorf("a rotation was a reason:\n%s", e.log)
			}
			l.environ = plain
			l.do(os.RemoveAll(s.mount.Dir), os.Mkdir(s.mount.Dir, 0o755))
			s.has(podtest.Certificate{}, nil)
			l.again()
		})
	}
}

// A mode that does not let podfqdn read the key is refused at once, and not waited for.
func TestAKeyOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	p := newPod(t, "Certificate")
	p.known()
	p.reachable()
	dir := filepath.Join(p.root, "tls")
	p.environ = append(p.environ, "PODFQDN_TLS="+dir)
	issued := podtest.Certificate{}.Issue()
	p.allow(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "tls.crt"), issued.PEM(), 0o644),
		os.WriteFile(filepath.Join(dir, "tls.key"), issued.KeyPEM(), 0o400), os.Chmod(p.dir(), 0o777))
	p.timeout = 20 * time.Second
	e := p.start(as(own, nil, "0022")).wait()
	p.ended(e)
	const says = `tls.key", which has uid 0, gid 0 and mode 0400: set the Pod's fsGroup, or a defaultMode or runAsUser that allows reading it`
	if e.code != 10 || !strings.HasSuffix(e.reason, says) || e.took > 5*time.Second {
		t.Errorf("ended with %d after %s, %q\n%s", e.code, e.took, e.reason, e.log)
	}
	p.allow(os.Chown(filepath.Join(dir, "tls.key"), 0, fsGroup), os.Chmod(filepath.Join(dir, "tls.key"), 0o440))
	if e := p.start(as(own, []uint32{fsGroup}, "0022")).wait(); e.code != 0 {
		t.Errorf("I6: exit code %d: %s", e.code, e.reason)
	}
}

// What becomes of a certificate after publication is warned of, counted, and takes nothing away.
func TestACertificateThatGoesBadLaterTakesNothingAway(t *testing.T) {
	t.Parallel()
	l := newLife(t, "Certificate")
	l.cluster.Publish(ours())
	s := certify(l)
	s.has(podtest.Certificate{}, nil)
	l.environ = append(l.environ, "PODFQDN_INTERVAL=10s")
	r := l.start(exec.Command(podfqdn, "sidecar"))
	r.says("certificate found")
	r.says(`"msg":"published"`)
	s.has(podtest.Certificate{Names: []string{"localhost"}}, nil)
	r.says(`"msg":"what is published stays"`)
	r.says("has only localhost")
	if !l.stands() {
		t.Error("the name does not stand any more")
	}
	s.has(podtest.Certificate{Serial: 0xBEEF}, nil)
	r.says("serial 0xBEEF")
	r.signal(syscall.SIGTERM)
	e := r.wait()
	s.secret(e)
	if e.code != 0 || !l.stands() {
		t.Errorf("exit code %d, stands %t\n%s", e.code, l.stands(), e.log)
	}
}
