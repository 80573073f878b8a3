//go:build faults

package faults

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// Who runs in a Pod: podfqdn as its image has it, and another container.
const own, stranger = 65532, 65534

// canary is a key, and so are its beginning and its end.
var canary = []byte("canary-of-a-key-of-32-bytes-AES!")

// known has the Pod ask a CoreDNS that knows it.
func (p *pod) known() *breaker {
	p.Helper()
	cluster := new(dnstest.Cluster)
	cluster.Service("default", "kubernetes", "10.96.0.1")
	cluster.Service("default", "db")
	cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
	b := &breaker{pod: p, count: map[string]int{}}
	p.serve(dnstest.CoreDNS{Cluster: cluster, Front: b.plugin})
	return b
}

func (p *pod) keys() string { return filepath.Join(p.root, "krb5") }

// keyed has the Pod need a key, which is the canary.
func (p *pod) keyed() {
	p.Helper()
	var b []byte
	part := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b = binary.BigEndian.AppendUint16(b, 2)
	part("EXAMPLE.COM")
	part("HTTP")
	part(db0)
	b = binary.BigEndian.AppendUint32(b, 1)             // KRB5_NT_PRINCIPAL
	b = binary.BigEndian.AppendUint32(b, 1_700_000_000) // written then
	b = append(b, 3)
	b = binary.BigEndian.AppendUint16(b, 18) // AES of 256 bits
	part(string(canary))
	b = append(binary.BigEndian.AppendUint32([]byte{5, 2}, uint32(len(b))), b...)
	p.write("keytabs/all.keytab", string(b))
	p.allow(os.MkdirAll(p.keys(), 0o777))
	p.environ = append(p.environ, "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}", "PODFQDN_KRB5_REALM=EXAMPLE.COM", "PODFQDN_KRB5_ALLOW_DISK=true",
		"PODFQDN_KRB5_SOURCE="+filepath.Join(p.root, "keytabs"), "PODFQDN_KRB5_DIR="+p.keys(), "PODFQDN_KRB5_MOUNT=/krb5")
}

// allow fails the test where the system does not do what it needs.
func (p *pod) allow(errs ...error) {
	p.Helper()
	if err := errors.Join(errs...); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: run the faults as root", err)
		}
		p.Fatal(err)
	}
}

// keyless sees that no key is in a text.
func (p *pod) keyless(text string) {
	p.Helper()
	for _, secret := range []string{string(canary[:12]), string(canary[20:]), hex.EncodeToString(canary), base64.StdEncoding.EncodeToString(canary[:30])} {
		if strings.Contains(text, secret) {
			p.Errorf("I5: the key is in the output:\n%s", text)
		}
	}
}

// outside is a folder that nobody is to write to, and before what it holds.
func (p *pod) outside() (dir, before string) {
	p.Helper()
	for _, name := range []string{"file", "fqdn", "keytab", "probe", "folder/fqdn"} {
		p.write("outside/"+name, "precious")
	}
	dir = filepath.Join(p.root, "outside")
	return dir, p.stamps(dir)
}

// stamps are all that a folder holds, with mode, owner and time. How many links a file has is not its own matter.
func (p *pod) stamps(dir string) string {
	p.Helper()
	var b strings.Builder
	p.allow(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		content := []byte(nil)
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintln(&b, path, info.Mode(), stat.Ino, stat.Uid, stat.Gid, info.ModTime().UnixNano(), string(content))
		return nil
	}))
	return b.String()
}

// same sees that a folder is as it was.
func (p *pod) same(dir, before string) {
	p.Helper()
	if after := p.stamps(dir); after != before {
		p.Errorf("outside was\n%s\nand is\n%s", before, after)
	}
}

// thing is what stands where podfqdn is to write.
type thing struct {
	what string
	make func(path, outside string) error
}

var things = []thing{
	{"a symlink to a file outside", func(path, outside string) error { return os.Symlink(outside+"/file", path) }},
	{"a symlink to a folder outside", func(path, outside string) error { return os.Symlink(outside, path) }},
	{"a symlink out by ..", func(path, _ string) error { return os.Symlink("../outside/"+filepath.Base(path), path) }},
	{"a symlink to a file inside", func(path, _ string) error { return os.Symlink("theirs", path) }},
	{"a symlink to itself", func(path, _ string) error { return os.Symlink(filepath.Base(path), path) }},
	{"a symlink that dangles", func(path, _ string) error { return os.Symlink("..gen-nowhere/../fqdn", path) }},
	{"a symlink to where podfqdn runs", func(path, _ string) error { return os.Symlink("/proc/self/cwd", path) }},
	{"a symlink to its output", func(path, _ string) error { return os.Symlink("/proc/self/fd/2", path) }},
	{"a symlink with an escape", func(path, _ string) error { return os.Symlink("\x1b[31m\n\xff", path) }},
	{"a hard link of a file outside", func(path, outside string) error { return os.Link(outside+"/file", path) }},
	{"a file", func(path, _ string) error { return os.WriteFile(path, []byte("theirs"), 0o666) }},
	{"an immutable file", func(path, _ string) error {
		return errors.Join(os.WriteFile(path, []byte("theirs"), 0o666), immutable(path, true))
	}},
	{"a FIFO", func(path, _ string) error { return syscall.Mkfifo(path, 0o666) }},
	{"a folder", func(path, _ string) error {
		return errors.Join(os.Mkdir(path, 0o777), os.WriteFile(path+"/fqdn", []byte("theirs"), 0o666))
	}},
	{"a folder of another UID", func(path, _ string) error {
		return errors.Join(os.Mkdir(path, 0o777), os.Lchown(path, stranger, stranger))
	}},
	{"a socket", func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o666, 0) }},
	{"a device", func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) }},
}

// immutable makes a file or a folder that not even root changes (ioctl_iflags(2)), or changeable again.
func immutable(path string, yes bool) error {
	const get, set, flag = 0x80086601, 0x40086602, 0x10
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var flags int
	ioctl := func(request uintptr) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&flags))); errno != 0 {
			return fmt.Errorf("the file system of %s knows no immutable files: %w", path, errno)
		}
		return nil
	}
	if err := ioctl(get); err != nil {
		return err
	}
	if flags &^= flag; yes {
		flags |= flag
	}
	return ioctl(set)
}

// planted is what podfqdn says of a thing at a name: 0, as a leftover of its own may look like that, or 13.
func (t thing) planted(name string) (code int) {
	switch leftover := strings.Contains(t.what, "link") || strings.Contains(t.what, "file"); {
	case name == "..gen-planted", name == "..data_tmp" && leftover && t.what != "an immutable file":
		return 0
	}
	return 13
}

// What somebody has put under a name of podfqdn's is refused, or is removed as a leftover; nothing behind it is touched.
func TestWhatStandsUnderItsNamesIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	for volume, names := range map[string][]string{
		"identity": {"fqdn", "ip", "ips", "identity.json", "identity.env", "verified", "..data", "..data_tmp", "..gen-planted"},
		"krb5":     {"keytab", "keytab-path", "krb5.conf", "principals", "verified", "..data", "..data_tmp", "..gen-planted"},
	} {
		for _, name := range names {
			t.Run(volume+" "+name, func(t *testing.T) {
				t.Parallel()
				p := lay(t)
				p.known()
				if volume == "krb5" {
					p.keyed()
				}
				outside, before := p.outside()
				path := filepath.Join(p.root, volume, name)
				p.recovers()
				for _, thing := range things {
					t.Run(thing.what, func(t *testing.T) {
						ran.add("files")
						defer p.of(t)()
						code := thing.planted(name)
						if code == 0 { // DNS is asked
							p.allow(os.RemoveAll(p.dir()))
							p.leave()
							p.truth.asked = false
						}
						p.write(volume+"/theirs", "theirs")
						p.Cleanup(func() { _ = immutable(path, false) }) // which would outlast the test
						p.allow(os.RemoveAll(path), thing.make(path, outside))
						seen, err := os.Lstat(path)
						p.allow(err)
						p.timeout = 5 * time.Second
						var e end
						if code == 0 {
							e = p.init()
						} else {
							// A reader meets what stands there too, and nothing was published in its place.
							e = p.start(exec.Command(podfqdn, "init")).wait()
							p.ended(e)
							if now, err := os.Lstat(path); err != nil || !os.SameFile(now, seen) || now.ModTime() != seen.ModTime() {
								p.Errorf("%s was touched: %v", name, err)
							}
						}
						p.keyless(e.log + e.reason)
						if says := fmt.Sprintf("%s in %q", name, filepath.Dir(path)); e.code != code || code != 0 && !strings.Contains(strings.ReplaceAll(e.reason, `"`+name+`"`, name), says) {
							p.Errorf("ended with %d, %q, not with %d and %s\n%s", e.code, e.reason, code, says, e.log)
						}
						p.same(outside, before)
						if thing.what == "an immutable file" {
							p.allow(immutable(path, false))
						}
						p.allow(os.RemoveAll(path))
						p.recovers()
						p.same(outside, before)
					})
				}
			})
		}
	}
}

// of has a part of a test be the Pod's, until it has ended.
func (p *pod) of(t *testing.T) (ended func()) {
	whole := p.TB
	p.TB = t
	return func() { p.TB = whole }
}
