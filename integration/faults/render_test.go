//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// configMap is a directory as the kubelet makes it, and a volume that it is rendered into.
type configMap struct {
	testing.TB
	src, dst string
	n        int // how often it was changed
}

// layConfigMap makes both, below a directory.
func layConfigMap(t testing.TB, root string) *configMap {
	t.Helper()
	c := &configMap{TB: t, src: filepath.Join(root, "src"), dst: filepath.Join(root, "rendered")}
	if err := errors.Join(os.Mkdir(c.src, 0o755), os.Mkdir(c.dst, 0o777), os.Chmod(c.dst, 0o777)); err != nil {
		t.Fatal(err)
	}
	c.is(1)
	return c
}

// texts are the files of a version, by name, as they stand in the source, or rendered. The two versions differ in their names
// too: what is a file in the one is a directory in the other.
func texts(version int, rendered bool) map[string]string {
	fqdn := "$(POD_FQDN)"
	if rendered {
		fqdn = db0
	}
	text := fmt.Sprintf("version %d of %s\n", version, fqdn)
	all := map[string]string{"server.conf": strings.Repeat(text, 200), "conf.d/a.conf": text, "verified": text}
	if version%2 == 0 {
		all["turns/into/one"] = text
	} else {
		all["turns"], all["conf.d/b.conf"] = text, text
	}
	return all
}

// is makes the source such a version, by one rename, and removes the one before.
func (c *configMap) is(version int) {
	c.Helper()
	c.n++
	name, tmp := fmt.Sprintf("..%d", c.n), filepath.Join(c.src, "..data_tmp")
	before, _ := os.Readlink(filepath.Join(c.src, "..data"))
	var errs []error
	for file, text := range texts(version, false) {
		path := filepath.Join(c.src, name, file)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	}
	errs = append(errs, os.Symlink(name, tmp), os.Rename(tmp, filepath.Join(c.src, "..data")))
	if before != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(c.src, before)))
	}
	if err := errors.Join(errs...); err != nil {
		c.Fatal(err)
	}
}

// version sees which version a reader finds that follows "..data" once, and that it is whole; 0 is none, or one that went
// meanwhile.
func (c *configMap) version() (int, error) {
	target, err := os.Readlink(filepath.Join(c.dst, "..data"))
	if err != nil {
		return 0, nil
	}
	got := map[string]string{}
	dir := filepath.Join(c.dst, target)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), "..") {
			return err
		}
		text, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, dir+"/")] = string(text)
		return err
	})
	if now, gone := os.Readlink(filepath.Join(c.dst, "..data")); gone != nil || now != target {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	version := 0
	if _, err := fmt.Sscanf(got["verified"], "version %d", &version); err == nil && maps.Equal(got, texts(version, true)) {
		return version, nil
	}
	return 0, fmt.Errorf("%s holds a mix: %.2000q", c.dst, got)
}

// shows sees that one of these versions stands, and nothing else under its visible names.
func (c *configMap) shows(versions ...int) {
	c.Helper()
	version, err := c.version()
	if err != nil || !slices.Contains(versions, version) {
		c.Errorf("I2: version %d of %v stands, %v", version, versions, err)
	}
	for name, text := range texts(version, true) {
		if got, err := os.ReadFile(filepath.Join(c.dst, name)); version > 0 && string(got) != text {
			c.Errorf("I2: %s is %.200q, %v", name, got, err)
		}
	}
}

// reader looks at the volume again and again until it is called: what it sees is of one version.
func (c *configMap) reader() (end func()) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var wrong error
		for {
			_, err := c.version()
			wrong = errors.Join(wrong, err)
			select {
			case <-done:
				ended <- wrong
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() {
		c.Helper()
		close(done)
		if err := <-ended; err != nil {
			c.Errorf("I2: %v", err)
		}
	}
}

// renders has the Pod render a ConfigMap.
func (p *pod) renders() *configMap {
	p.Helper()
	c := layConfigMap(p.TB, p.root)
	p.environ = append(p.environ, "PODFQDN_RENDER="+c.src+":"+c.dst)
	return c
}

// A kill at any change of the volume, by the real binary: a server finds the old files or the new ones.
func TestAKillWhileItRendersLeavesTheOldFilesOrTheNew(t *testing.T) {
	t.Parallel()
	for call, most := range map[string]int{"mkdirat": 2, "symlinkat": 4, "renameat": 1, "unlinkat": 4, "openat": 12} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			p := lay(t)
			p.known()
			c := p.renders()
			hit := 0
			for i := range most {
				if !*long && i > 1 && i%3 > 0 {
					continue
				}
				ran.add("rendered")
				c.is(1)
				p.recovers()
				c.shows(1)
				c.is(2)
				read := c.reader()
				e := p.start(straced("init", c.dst, fmt.Sprintf("%s:signal=SIGKILL:when=%d", call, i+1), "/dev/null")).wait()
				read()
				switch {
				case e.code < 0:
					hit++
				case e.code != 0:
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
				if err := whole(p.dir()); err != nil {
					t.Errorf("I2: %v", err)
				}
				c.shows(1, 2)
				p.recovers()
				c.shows(2)
			}
			if hit == 0 {
				t.Errorf("no %s was met", call)
			}
		})
	}
}

// A kill and a failure at each of the calls with which a source is read and a volume is written.
func TestRenderedFiles(t *testing.T) {
	fresh := func(t *testing.T, versions ...int) *configMap {
		t.Helper()
		root, err := os.MkdirTemp("/dev/shm", "podfqdn-faults-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(root) })
		c := layConfigMap(t, root)
		for _, version := range versions {
			if code, _, said := write(t, c.dst, c.src); code != 0 {
				t.Fatal(said)
			}
			c.is(version)
		}
		return c
	}
	errnos := []string{"ENOSPC", "EROFS", "EIO", "EDQUOT", "EMFILE", "EACCES"}
	for state, versions := range map[string][]int{"empty": nil, "an older one": {2}, "two older ones": {2, 3}, "the same again": {1}} {
		t.Run(state, func(t *testing.T) {
			c := fresh(t, versions...)
			want := append([]int{1}, versions...)[len(versions)]
			its := traced(t, c.dst, c.src)
			for n, name := range calls {
				for i, k := range its[name] {
					changes := slices.Contains([]string{"write", "mkdirat", "symlinkat", "renameat", "unlinkat", "fchmod"}, name)
					if !*long && (i+n)%map[bool]int{true: 2, false: 8}[changes] > 0 {
						continue // TestFiles has the same calls
					}
					t.Run(fmt.Sprintf("%s %d", name, i+1), func(t *testing.T) {
						t.Parallel()
						for _, fault := range []string{"signal=SIGKILL", "error=" + errnos[k%len(errnos)]} {
							ran.add("rendered")
							c := fresh(t, versions...)
							code, killed, said := write(t, c.dst, c.src, "-qq", "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:%s:when=%d", name, fault, k))
							switch {
							case killed != strings.HasPrefix(fault, "signal"):
								t.Errorf("%s: killed: %t, exit code %d: %s", fault, killed, code, said)
							case code == 2:
								t.Errorf("%s: it panicked: %s", fault, said)
							case code == 0:
								c.shows(want)
							case code == 13 && !killed && strings.Count(said, "\n") != 1:
								t.Errorf("%s: it says %q", fault, said)
							}
							c.shows(append([]int{0, 1}, versions...)...)
							if code, _, said := write(t, c.dst, c.src); code != 0 {
								t.Errorf("I6: after %s: exit code %d: %s", fault, code, said)
							}
							c.shows(want)
							if left, _ := filepath.Glob(filepath.Join(c.dst, "..gen-*")); len(left) > 2 {
								t.Errorf("I6: after %s there are %q", fault, left)
							}
						}
					})
				}
			}
		})
	}
}

func TestAVolumeThatCannotBeRenderedIntoIsSaidToBeSo(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct{ mount, says string }{
		"full":      {"mount -t tmpfs -o mode=0777,size=16k none %q", "raise the volume's sizeLimit, or remove what fills it"},
		"read-only": {"mount -t tmpfs -o mode=0777,ro none %q", "the volumeMount must not be readOnly"},
		"missing":   {"rmdir %q", "does not exist: mount an emptyDir there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, m := newPod(t, "rendered"), newMounts(t)
			p.known()
			c := p.renders()
			if name != "missing" {
				p.environ = []string{"PODFQDN_RENDER=" + c.src + ":" + m.root + c.dst}
			}
			m.do(v.mount, c.dst)
			p.timeout = 5 * time.Second
			e := p.init()
			if e.code != 13 || !strings.Contains(e.reason, v.says) {
				t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			c.shows(0)
			m.do("%s", map[bool]string{true: "mkdir -m 777 ", false: "umount "}[name == "missing"]+c.dst)
			p.recovers()
			c.shows(1)
		})
	}
}

// Nobody gets files of two versions, however often the kubelet replaces them.
func TestAConfigMapThatChangesWhileItIsReadIsRenderedOfOneVersion(t *testing.T) {
	t.Parallel()
	p := newPod(t, "rendered")
	p.known()
	c := p.renders()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for version := 2; ; version++ {
			select {
			case <-stop:
				return
			default:
				c.is(version)
			}
		}
	}()
	read := c.reader()
	rendered := 0
	for range 20 {
		e := p.start(exec.Command(podfqdn, "init")).wait()
		switch {
		case e.code == 0:
			rendered++
			if version, err := c.version(); err != nil || version == 0 {
				t.Errorf("version %d stands: %v", version, err)
			}
		case e.code != 10 || !strings.Contains(e.reason, "changed each of the 10 times that it was read"):
			t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
		}
	}
	close(stop)
	<-stopped
	read()
	if rendered == 0 {
		t.Error("it was never rendered")
	}
	c.is(1)
	p.recovers()
	c.shows(1)
}
