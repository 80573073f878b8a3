//go:build faults

package faults

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// secrets are what podfqdn sees and is to keep to itself, by where it sees them.
var secrets = map[string]string{
	"the token":                           token,
	"a key":                               string(canary),
	"a foreign variable":                  "canary-of-a-password",
	"a foreign variable with a line":      "canary-of-a\npassphrase",
	"a variable that podfqdn has not":     "canary-of-a-krb5-password",
	"a slip of a variable":                "canary-of-a-realm-secret",
	"a variable of a Service of its name": "canary-of-a-service",
}

// environment is where the secrets are, but for those in files.
var environment = []string{
	"DB_PASSWORD=" + secrets["a foreign variable"],
	"AWS_SECRET_ACCESS_KEY=" + secrets["a foreign variable with a line"],
	"PODFQDN_KRB5_PASSWORD=" + secrets["a variable that podfqdn has not"],
	"PODFQDN_SERVICE_HOST=" + secrets["a variable of a Service of its name"],
}

// secretive checks that no secret is in an output, whole or in part, plain, quoted or encoded.
func (p *pod) secretive(what, output string) {
	p.Helper()
	for whose, secret := range secrets {
		// A line may have been cut, or a word left out.
		half := len(secret) / 2
		forms := []string{secret[:max(10, half)], secret[half:], url.QueryEscape(secret), hex.EncodeToString([]byte(secret[:9])), base64.StdEncoding.EncodeToString([]byte(secret[:9]))}
		for _, form := range forms {
			if form != "canary-of-" && strings.Contains(output, form) {
				p.Errorf("I5: %s: %s is in the output, as %q:\n%s", what, whose, form, output)
			}
		}
	}
}

// says runs a command to its end, or until the deadline, and returns all that it said, and where. Only init publishes.
func (p *pod) says(command string, environ ...string) string {
	p.Helper()
	if command == "init" && whole(p.dir()) == nil { // else the test has torn it
		e := p.init(environ...)
		return e.log + e.reason
	}
	e := p.start(exec.Command(podfqdn, strings.Fields(command)...), environ...).wait()
	said := e.log + e.reason
	if command == "init" {
		p.invariants(e)
	} else {
		e.log = strings.NewReplacer("·", "", "…", "").Replace(e.log) // of the help, which is nobody else's
		p.ended(e)
	}
	return said
}

// mended checks that a run succeeds with all that the kubelet gives, and nothing wrong in it any more.
func (p *pod) mended() {
	p.Helper()
	for _, name := range []string{"etc", "var", "keytabs"} {
		p.allow(os.RemoveAll(filepath.Join(p.root, name)))
	}
	p.files()
	p.environ = slices.Clone(environment)
	p.keyed()
	p.recovers()
}

func TestNoSecretIsInAnyOutput(t *testing.T) {
	t.Parallel()
	commands := []string{"init", "check", "doctor", "doctor -o json"}
	privy := func(t *testing.T) *pod {
		p := newPod(t, "secrets")
		p.known()
		p.keyed()
		p.environ = append(p.environ, environment...)
		p.timeout = time.Second
		return p
	}
	t.Run("of each command, where all is well", func(t *testing.T) {
		t.Parallel()
		p := privy(t)
		for _, command := range append([]string{"help", "version", "", "no-such-command", "init " + "x", "check x", "doctor x", "doctor -o yaml"}, commands...) {
			said := p.says(command)
			if p.secretive(command, said); said == "" && command != "init" {
				t.Errorf("%s says nothing", command)
			}
		}
		p.mended()
	})
	// The sidecar: its log, /readyz and /metrics, before and after an agreement.
	t.Run("of the sidecar", func(t *testing.T) {
		t.Parallel()
		p := privy(t)
		free, err := net.Listen("tcp", "127.0.0.1:0")
		p.allow(err)
		address := free.Addr().String()
		free.Close()
		b := &breaker{pod: p, count: map[string]int{}, faults: []fault{{kind: "any", network: "any", last: 1 << 30, ops: []string{"rcode SERVFAIL"}}}}
		p.servers = nil
		p.behind(b)
		p.timeout = time.Minute // which is this test's: a sidecar has none
		reader := p.reader()
		r := p.start(exec.Command(podfqdn, "sidecar"), "PODFQDN_LISTEN="+address, "PODFQDN_INTERVAL=10s")
		p.awaits(r, `"not yet"`)
		get := func(path string) {
			response, err := http.Get("http://" + address + path)
			p.allow(err)
			body, err := io.ReadAll(response.Body)
			p.allow(err, response.Body.Close())
			if p.secretive(path, fmt.Sprint(response.Header, string(body))); len(body) == 0 {
				t.Errorf("%s says nothing", path)
			}
		}
		get("/readyz")
		get("/metrics")
		b.heal()
		p.awaits(r, `"msg":"published"`)
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/", "/readyz?verbose=" + url.QueryEscape(secrets["a slip of a variable"])} {
			get(path)
		}
		p.allow(r.cmd.Process.Signal(syscall.SIGTERM))
		e := r.wait()
		reader()
		p.invariants(e)
		p.secretive("sidecar", e.log+e.reason)
		p.mended()
	})
	// What may be said wrongly of Kerberos, and what may be wrong with its files.
	for name, c := range map[string]struct {
		environ []string
		spoil   func(*pod)
	}{
		"a slip of a variable":           {environ: []string{"PODFQDN_KRB5_REALMS=" + secrets["a slip of a variable"]}},
		"a variable with part of a name": {environ: []string{"PODFQDN_KRB5_KEYTAB=" + secrets["a slip of a variable"]}},
		"the token in place of a keytab": {spoil: func(p *pod) {
			p.environ = append(p.environ, "PODFQDN_KRB5_SOURCE="+filepath.Join(p.root, "var/run/secrets/kubernetes.io/serviceaccount/token"))
		}},
		"the token's directory": {spoil: func(p *pod) {
			p.environ = append(p.environ, "PODFQDN_KRB5_SOURCE="+filepath.Join(p.root, "var/run/secrets/kubernetes.io/serviceaccount"))
		}},
		"a keytab that is cut": {spoil: func(p *pod) { p.write("keytabs/all.keytab", p.read("keytabs/all.keytab")[:90]) }},
		"a keytab whose key is another's": {spoil: func(p *pod) {
			p.write("keytabs/all.keytab", strings.Replace(p.read("keytabs/all.keytab"), "db-0", "db-9", 1))
		}},
		"a keytab with the key as its name": {spoil: func(p *pod) {
			p.write("keytabs/all.keytab", strings.Replace(p.read("keytabs/all.keytab"), "\x00\x12\x00\x20canary", "\x00\x12\x00\xffcanary", 1))
		}},
		"a keytab of a weak key": {spoil: func(p *pod) {
			p.write("keytabs/all.keytab", strings.Replace(p.read("keytabs/all.keytab"), "\x00\x12\x00\x20", "\x00\x17\x00\x20", 1))
		}},
		"the token in place of hosts": {spoil: func(p *pod) {
			p.allow(os.Remove(filepath.Join(p.root, "etc/hosts")), os.Symlink("../var/run/secrets/kubernetes.io/serviceaccount/token", filepath.Join(p.root, "etc/hosts")))
		}},
		"the token in place of resolv.conf": {environ: []string{"PODFQDN_NAMESERVERS="}, spoil: func(p *pod) {
			p.allow(os.Remove(filepath.Join(p.root, "etc/resolv.conf")), os.Symlink("../var/run/secrets/kubernetes.io/serviceaccount/token", filepath.Join(p.root, "etc/resolv.conf")))
		}},
		"keys in the volume of the identity": {spoil: func(p *pod) {
			p.write("identity/..gen-left/fqdn", string(canary))
			p.write("identity/..gen-left/identity.json", string(canary))
		}},
		"torn keys of before": {spoil: func(p *pod) {
			p.write("krb5/..gen-left/keytab", p.read("keytabs/all.keytab")[:90])
			p.write("krb5/..gen-left/principals", token)
			p.write("krb5/..gen-left/verified", "")
			p.allow(os.Symlink("..gen-left", filepath.Join(p.keysDir(), "..data")))
		}},
		"no volume for keys": {spoil: func(p *pod) { p.allow(os.RemoveAll(p.keysDir())) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := privy(t)
			p.environ = append(p.environ, c.environ...)
			if c.spoil != nil {
				c.spoil(p)
			}
			for _, command := range commands {
				p.secretive(command, p.says(command))
			}
			p.mended()
		})
	}
	// Each kind of mistake in the inputs.
	archive, err := txtar.ParseFile("testdata/inputs.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		t.Run("with "+file.Name, func(t *testing.T) {
			t.Parallel()
			in := &input{pod: privy(t)}
			for line := range strings.Lines(string(file.Data)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					if err := in.line(line); err != nil {
						t.Fatal(err)
					}
				}
			}
			in.secretive("check", in.pod.says("check"))
			in.secretive("init", in.pod.says("init"))
			if *long {
				in.secretive("doctor", in.pod.says("doctor"))
				in.secretive("doctor -o json", in.pod.says("doctor -o json"))
			}
			in.mended()
		})
	}
}

// What looks for secrets finds them.
func TestASecretThatIsShownIsSeen(t *testing.T) {
	t.Parallel()
	for whose, secret := range secrets {
		for _, shown := range []string{secret, fmt.Sprintf("%+q", secret)[1:], secret[:len(secret)*3/4], secret[len(secret)/3:], url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
			r := &recorder{TB: t}
			(&pod{TB: r}).secretive("a test", "x"+shown+"y")
			if len(r.told) == 0 {
				t.Errorf("%s is not seen in %q", whose, shown)
			}
		}
	}
}
