package kerberos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// tool is a program that is needed, with the Debian package that has it.
type tool struct{ name, deb string }

// tools are those of a Realm.
var tools = []tool{
	{"krb5kdc", "krb5-kdc"},
	{"kdb5_util", "krb5-kdc"},
	{"kadmin.local", "krb5-admin-server"},
	{"ktutil", "krb5-user"},
	{"klist", "krb5-user"},
	{"kinit", "krb5-user"},
	{"kvno", "krb5-user"},
}

// Tool returns the path of a program of MIT krb5. Those for administrators lie in /usr/sbin, which is not in every user's
// PATH.
func Tool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// Require tells in one sentence what is missing for a Realm on this machine.
func Require() error { return require(tools) }

func require(tools []tool) error {
	var lacks, install []string
	for _, t := range tools {
		if _, err := Tool(t.name); err == nil {
			continue
		}
		lacks = append(lacks, t.name)
		if !slices.Contains(install, t.deb) {
			install = append(install, t.deb)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("a Kerberos realm needs programs that are missing here, %s: apt-get install -y --no-install-recommends %s",
		strings.Join(lacks, ", "), strings.Join(install, " "))
}

// Realm is a Kerberos realm with a KDC that runs.
type Realm struct {
	Name  string         // such as EXAMPLE.COM
	KDC   netip.AddrPort // UDP and TCP
	dir   string
	kdc   *exec.Cmd
	ended chan ended
}

// Start makes a realm in an empty directory and starts its KDC on a free port of an address, such as 127.0.0.1. It answers
// when Start returns. The caller stops it.
func Start(dir, name string, on netip.Addr) (*Realm, error) {
	if err := Require(); err != nil {
		return nil, err
	}
	r := &Realm{Name: name, dir: dir}
	// The port is free when it is chosen; another process may take it before the KDC does.
	const tries = 5
	for try := range tries {
		port, err := freePort(on)
		if err != nil {
			return nil, err
		}
		r.KDC = netip.AddrPortFrom(on, port)
		if err := r.configure(); err != nil {
			return nil, err
		}
		if try == 0 {
			if out, err := r.Run("", "kdb5_util", "create", "-s", "-P", "master", "-r", name); err != nil {
				return nil, fmt.Errorf("kdb5_util: %w: %s", err, out)
			}
		}
		err = r.serve()
		if err == nil {
			return r, nil
		}
		if try == tries-1 || !strings.Contains(err.Error(), "in use") {
			return nil, err
		}
	}
	panic("not reached")
}

// freePort returns a port that is free for UDP and TCP.
func freePort(on netip.Addr) (uint16, error) {
	for range 100 {
		tcp, err := net.Listen("tcp", netip.AddrPortFrom(on, 0).String())
		if err != nil {
			return 0, err
		}
		defer tcp.Close() // at the end, so that another one is tried next
		addr := netip.MustParseAddrPort(tcp.Addr().String())
		udp, err := net.ListenPacket("udp", addr.String())
		if err == nil {
			return addr.Port(), udp.Close()
		}
	}
	return 0, fmt.Errorf("no port of %s is free for UDP and TCP", on)
}

func (r *Realm) path(name string) string { return filepath.Join(r.dir, name) }

// configure writes what libkrb5 and the KDC read, with paths in the realm's own directory only.
func (r *Realm) configure() error {
	conf := fmt.Sprintf(`[libdefaults]
    default_realm = %s
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    allow_weak_crypto = true
    allow_rc4 = true
    allow_des3 = true
[realms]
    %[1]s = {
        kdc = %s
    }
`, r.Name, r.KDC)
	kdc := fmt.Sprintf(`[kdcdefaults]
    kdc_listen = %s
    kdc_tcp_listen = %[1]s
[realms]
    %s = {
        database_name = %s
        key_stash_file = %s
        acl_file = %s
    }
[logging]
    kdc = STDERR
`, r.KDC, r.Name, r.path("principal"), r.path("stash"), r.path("kadm5.acl"))
	return errors.Join(os.WriteFile(r.path("krb5.conf"), []byte(conf), 0o644), os.WriteFile(r.path("kdc.conf"), []byte(kdc), 0o644))
}

// Environment is for programs that are the realm's own: they read its settings and no others.
func (r *Realm) Environment() []string {
	return append(os.Environ(), "KRB5_CONFIG="+r.path("krb5.conf"), "KRB5_KDC_PROFILE="+r.path("kdc.conf"),
		"KRB5CCNAME=FILE:"+r.path("ccache"), "KRB5_KTNAME="+r.path("none"), "KRB5_CLIENT_KTNAME="+r.path("none"), "KRB5RCACHENAME=none:",
		"TZ=UTC", "LC_ALL=C")
}

// Run runs a program of MIT krb5 with such an input and returns all that it says.
func (r *Realm) Run(stdin, name string, args ...string) (string, error) {
	return r.RunWith(nil, stdin, name, args...)
}

// RunWith is Run with more variables, NAME=VALUE.
func (r *Realm) RunWith(environment []string, stdin, name string, args ...string) (string, error) {
	path, err := Tool(name)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(r.Environment(), environment...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Admin has kadmin.local do one thing, such as "addprinc -randkey HTTP/db-0". It says nothing by its exit code.
func (r *Realm) Admin(query string) error {
	out, err := r.Run("", "kadmin.local", "-r", r.Name, "-q", query)
	for line := range strings.Lines(out) {
		for _, problem := range []string{"add_principal:", "change_password:", "kadmin.local:", "delete_principal:", "while "} {
			if strings.HasPrefix(line, problem) || problem == "while " && strings.Contains(line, problem) {
				err = errors.Join(err, errors.New(strings.TrimSpace(line)))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("kadmin.local %s: %w", query, err)
	}
	return nil
}

// serve starts the KDC and waits until it answers.
func (r *Realm) serve() error {
	path, err := Tool("krb5kdc")
	if err != nil {
		return err
	}
	r.kdc = exec.Command(path, "-n", "-r", r.Name)
	r.kdc.Env = r.Environment()
	r.kdc.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := r.kdc.StderrPipe()
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	r.ended = make(chan ended, 1)
	go func() {
		// To the kernel the parent, with whom the KDC ends, is a thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := r.kdc.Start(); err != nil {
			ready <- err
			return
		}
		var log bytes.Buffer
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.Write(append(lines.Bytes(), '\n'))
			if strings.Contains(lines.Text(), "commencing operation") {
				ready <- nil
			}
		}
		err := r.kdc.Wait()
		r.ended <- ended{log.String(), err}
		select {
		case ready <- fmt.Errorf("the KDC ended: %v: %s", err, &log):
		default:
		}
	}()
	return <-ready
}

// ended is what the KDC wrote, and how it ended.
type ended struct {
	log string
	err error
}

// Stop ends the KDC and returns its log.
func (r *Realm) Stop() (log string, err error) {
	if err := r.kdc.Process.Signal(syscall.SIGTERM); err != nil {
		return "", err
	}
	end := <-r.ended
	return end.log, end.err
}
