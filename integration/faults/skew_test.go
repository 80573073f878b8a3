//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/integration/programs"
)

// landed is the last version that was delivered, which a container of a Pod may be of while another is of this one.
const landed = "74db86347425e921a794a30cdda7d2ec38ad5120"

// version is one of podfqdn.
type version string

const (
	past    version = "the older version" // landed
	present version = "this version"
)

// three are the peers of this version's containers, which have the variable for that.
const three = "db-0.db.default.svc.cluster.local\ndb-1.db.default.svc.cluster.local\ndb-2.db.default.svc.cluster.local\n"

// commas is the variable that lists them.
var commas = strings.ReplaceAll(strings.TrimSpace(three), "\n", ",")

// step is one run of a Pod's life, and what happens to the volume.
type step struct {
	of      version
	command string // a sidecar runs until it has published or has looked twice
	kill    bool   // it ends by SIGKILL
	stays   bool   // or goes on while the next runs
	code    int    // with which it ends
	says    string // is in its log
	flips   bool   // another generation stands then
	peers   string // which that has; "" is none
}

// A Pod's containers are upgraded one after the other, and its sandbox outlives them. Whichever ran before, a reader sees
// no generation but whole ones, and the start signal does not go any more once it is there.
//
// The older version does not know the peers, and leaves what the newer one has published as it is.
func TestVersionsOfOnePodDoNotHarmEachOther(t *testing.T) {
	t.Parallel()
	binary, err := programs.Past(landed)
	if err != nil {
		t.Fatal(err)
	}
	binaries := map[version]string{past: binary, present: podfqdn}
	for name, c := range map[string]struct {
		keys  bool // with Kerberos
		steps []step
	}{
		"init, then the newer init": {steps: []step{
			{of: past, command: "init", flips: true},
			{of: present, command: "check"},
			{of: present, command: "init", flips: true, peers: three},
			{of: present, command: "init", peers: three},
		}},
		"init, then the newer sidecar": {steps: []step{
			{of: past, command: "init", flips: true},
			{of: present, command: "sidecar", flips: true, peers: three},
			{of: past, command: "check", peers: three},
			{of: present, command: "sidecar", peers: three},
		}},
		"init, then the older init": {steps: []step{
			{of: present, command: "init", flips: true, peers: three},
			{of: past, command: "check", peers: three},
			{of: past, command: "init", peers: three},
			{of: present, command: "check", peers: three},
		}},
		"init, then the older sidecar": {steps: []step{
			{of: present, command: "init", flips: true, peers: three},
			{of: past, command: "sidecar", peers: three},
			{of: present, command: "sidecar", peers: three},
		}},
		"a newer init next to the sidecar": {steps: []step{
			{of: past, command: "sidecar", stays: true, flips: true},
			{of: present, command: "check"},
			{of: present, command: "init", code: 13},
			{of: present, command: "sidecar", code: 13},
		}},
		"an older init next to the sidecar": {steps: []step{
			{of: present, command: "sidecar", stays: true, flips: true, peers: three},
			{of: past, command: "check", peers: three},
			{of: past, command: "init", code: 13, peers: three},
			{of: past, command: "sidecar", code: 13, peers: three},
		}},
		"a sidecar that is killed, then the older one": {steps: []step{
			{of: present, command: "sidecar", kill: true, flips: true, peers: three},
			{of: past, command: "sidecar", kill: true, peers: three},
			{of: present, command: "sidecar", kill: true, peers: three},
			{of: present, command: "init", peers: three},
		}},
		"exec, after an older init": {steps: []step{
			{of: past, command: "init", flips: true},
			{of: past, command: "exec -- /usr/bin/test db-0 = $(POD_HOSTNAME)"},
			{of: present, command: "exec -- /usr/bin/test " + commas + " = $(POD_PEERS)", flips: true, peers: three}, // which it proves again for
			{of: past, command: "exec -- /usr/bin/test db-0 = $(POD_HOSTNAME)", peers: three},
		}},
		"exec, then the older sidecar": {steps: []step{
			{of: present, command: "exec -- /bin/true", flips: true, peers: three},
			{of: past, command: "check", peers: three},
			{of: past, command: "sidecar", peers: three},
			{of: present, command: "exec -- /usr/bin/test " + commas + " = $(POD_PEERS)", peers: three},
		}},
		"exec next to the older sidecar": {steps: []step{
			{of: past, command: "sidecar", stays: true, flips: true},
			{of: past, command: "exec -- /usr/bin/test db-0 = $(POD_HOSTNAME)"},
			{of: present, command: "exec -- /bin/true", code: 11, says: "set PODFQDN_PEERS for the container that runs podfqdn init or podfqdn sidecar"},
			{of: present, command: "check"},
		}},
		"keys, then the older sidecar": {keys: true, steps: []step{
			{of: present, command: "init", flips: true, peers: three},
			{of: past, command: "sidecar", kill: true, peers: three},
			{of: present, command: "init", peers: three},
		}},
		"keys, then the newer sidecar": {keys: true, steps: []step{
			{of: past, command: "init", flips: true},
			{of: present, command: "sidecar", flips: true, peers: three},
			{of: past, command: "check", peers: three},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "skew")
			l.empty()
			l.cluster.Publish(ours())
			if c.keys {
				l.kerberos(http0)
			}
			l.environ = append(l.environ, "PODFQDN_CONFIRM=0", "PODFQDN_INTERVAL=5s")
			reader := l.readsOn()
			for i, s := range c.steps {
				l.step(fmt.Sprintf("%d, %s of %s", i+1, s.command, s.of), binaries[s.of], s)
			}
			reader()
		})
	}
}

// A clone without history says so, and is not passed over.
func TestAVersionThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	path, err := programs.Past(strings.Repeat("0", 40))
	if err == nil || !strings.Contains(err.Error(), "make it a full clone") {
		t.Errorf("%q, %v", path, err)
	}
}

// step takes one, and checks what became of the volume.
func (l *life) step(name, binary string, s step) {
	l.Helper()
	generation := func() string {
		target, err := os.Readlink(filepath.Join(l.dir(), "..data"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.Error(err)
		}
		return target
	}
	before := generation()
	looked := l.looksTwice()
	var environ []string
	if s.of == present {
		environ = append(environ, "PODFQDN_PEERS=3")
	}
	r := l.start(exec.Command(binary, strings.Fields(s.command)...), environ...)
	if s.command == "sidecar" && s.code == 0 {
		if s.flips {
			r.says(`"msg":"published"`)
		} else {
			looked()
		}
	}
	switch {
	case s.stays:
		l.Cleanup(func() { l.ends(name, r, syscall.SIGTERM, 0) })
	case s.kill:
		l.ends(name, r, syscall.SIGKILL, -1)
	case s.command == "sidecar" && s.code == 0:
		l.ends(name, r, syscall.SIGTERM, 0)
	default:
		l.ends(name, r, 0, s.code)
	}
	after := generation()
	_, _, peers, err := agree(filepath.Join(l.dir(), after))
	if after == "" || (after != before) != s.flips || err != nil || peers != s.peers || !strings.Contains(r.out.String(), s.says) {
		l.Errorf("%s: from %q to %q with the peers %q, %v\n%s", name, before, after, peers, err, r.out.String())
	}
	text, err := os.ReadFile(filepath.Join(l.dir(), "peers"))
	if string(text) != s.peers || s.peers == "" && !errors.Is(err, fs.ErrNotExist) {
		l.Errorf("%s: the file peers says %q, %v", name, text, err)
	}
	if said := r.out.String(); s.command == "check" && said != db0+"\n" {
		l.Errorf("%s says %q", name, said)
	}
	if l.keys != "" {
		l.hasKeys(http0)
		if env := l.read("identity/identity.env"); !strings.Contains(env, "\nKRB5_KTNAME='"+l.keys+"/keytab'\n") {
			l.Errorf("%s: identity.env is %q", name, env)
		}
	}
}

// lost is what the log says when an identity is taken away.
var lost = regexp.MustCompile(`removed|torn|withdrawn`)

// ends sends a signal, 0 for none, and checks how a process ends and that it has taken nothing away.
func (l *life) ends(name string, r *running, by syscall.Signal, code int) {
	l.Helper()
	if by != 0 {
		r.signal(by)
	}
	e := r.wait()
	l.ended(e)
	l.secrets(e)
	if e.code != code {
		l.Errorf("%s: exit code %d, not %d: %s\n%s", name, e.code, code, e.reason, e.log)
	}
	if said := lost.FindString(e.log); said != "" {
		l.Errorf("%s: it says %q\n%s", name, said, e.log)
	}
}

// looksTwice watches what DNS is asked from now on; what it returns waits until a process has verified and has begun to once
// more, so that it has done what follows from the first.
func (l *life) looksTwice() (wait func()) {
	l.afresh()
	return l.when("PTR", 2, func() {})
}

// readsOn looks at the volume again and again until what it returns is called: each generation is whole, of whichever
// version, and from the start signal on that stands and the name can be read.
func (l *life) readsOn() (end func()) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var wrong error
		for stood, on := false, true; on; {
			target, err := os.Readlink(filepath.Join(l.dir(), "..data"))
			if err == nil {
				_, _, _, err = agree(filepath.Join(l.dir(), target))
				if now, _ := os.Readlink(filepath.Join(l.dir(), "..data")); err != nil && now == target {
					wrong = errors.Join(wrong, err)
				}
			}
			_, err = os.Stat(filepath.Join(l.dir(), "verified"))
			if stood = stood || err == nil; stood {
				name, unread := os.ReadFile(filepath.Join(l.dir(), "fqdn"))
				if err = errors.Join(err, unread); err != nil || string(name) != db0 {
					wrong = errors.Join(wrong, fmt.Errorf("verified, and then the name is %q: %w", name, err))
				}
			}
			select {
			case <-done:
				on = false
			case <-time.After(time.Millisecond):
			}
		}
		ended <- wrong
	}()
	return func() {
		l.Helper()
		close(done)
		if err := <-ended; err != nil {
			l.Errorf("I2: %v", err)
		}
	}
}
