package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/volume"
)

func TestMain(m *testing.M) {
	// Most scripts only wait: more of them at once than there are processors.
	flag.Set("test.parallel", "8")
	testscript.Main(m, map[string]func(){
		"podfqdn": func() { os.Exit(run(untilSignal(os.Args[1:]), os.Args[1:], environment(), os.Stdout, os.Stderr)) },
	})
}

// Each script under testdata/script is one Pod: its files below pod/, an empty
// volume at identity/, and these commands in addition to testscript's own.
//
//	dns start FILE               a nameserver with the records of FILE; its address is
//	                             $PODFQDN_NAMESERVERS from then on
//	dns add|remove RECORD        change its records
//	dns rcode NAME TYPE RCODE    answer so from now on
//	dns silent                   do not answer any more
//	[!] dns asked [NAME [COUNT]] wait for questions since the last dns command; with ! see that there were none
//	code N [COMMAND…]            run COMMAND, or take the one that signal ended; see that its exit code is N
//	signal TERM|INT|…             to the command in the background
//	reason TEXT                  the last init failed with exactly this in its termination log and its log;
//	                             $NAME in it is a variable, <time> is any duration, <clock> any time of day
//	snapshot, unchanged          what the volume holds, to the inode
//	watch, changes               the names of the contract, and ..data, as they appear (+) and go (-)
//	keytab FILE [ENTRY…]         replaces FILE by one with such entries, see keytab
//	certificate DIR NAME…        replaces tls.crt and tls.key in DIR by a certificate for these DNS names
//	forgets ENTRY…               waits until the sidecar in the background has published; then none of the keys
//	                             of entries is in its memory, which only root can read
//	published GOLDEN             the volume holds exactly testdata/golden/GOLDEN and its start signal
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PODFQDN_ROOT", filepath.Join(e.WorkDir, "pod"))
			e.Setenv("PODFQDN_DIR", filepath.Join(e.WorkDir, "identity"))
			e.Values[podKey{}] = new(pod)
			return os.Mkdir(filepath.Join(e.WorkDir, "identity"), 0o777)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dns": cmdDNS, "code": cmdCode, "signal": cmdSignal, "reason": cmdReason,
			"snapshot": cmdSnapshot, "unchanged": cmdUnchanged,
			"keytab": cmdKeytab, "certificate": cmdCertificate, "forgets": cmdForgets,
			"watch": cmdWatch, "changes": cmdChanges, "published": cmdPublished,
		},
		RequireUniqueNames: true,
	})
}

// pod is what a script's commands remember.
type pod struct {
	dns      *nameserver
	signaled *exec.Cmd
	code     int
	snapshot string
	watch    int // inotify's descriptor
}

type podKey struct{}

func podOf(ts *testscript.TestScript) *pod { return ts.Value(podKey{}).(*pod) }

func cmdDNS(ts *testscript.TestScript, neg bool, args []string) {
	p := podOf(ts)
	switch args[0] {
	case "start":
		var err error
		p.dns, err = newNameserver(ts.ReadFile(args[1]))
		ts.Check(err)
		ts.Defer(p.dns.close)
		ts.Setenv("PODFQDN_NAMESERVERS", p.dns.addr)
		return
	case "asked":
		name, count := "", 1
		if len(args) > 1 {
			name = args[1]
		}
		if len(args) > 2 {
			count, _ = strconv.Atoi(args[2])
		}
		if !neg {
			ts.Check(p.dns.wait(name, count))
		} else if count, _ := p.dns.questions(name); count > 0 {
			ts.Fatalf("%d questions were asked", count)
		}
		return
	}
	p.dns.Lock()
	defer p.dns.Unlock()
	p.dns.asked = nil
	switch args[0] {
	case "add", "remove":
		records, err := parseRecords(strings.Join(args[1:], " "))
		ts.Check(err)
		before := len(p.dns.zone)
		p.dns.zone = slices.DeleteFunc(p.dns.zone, func(rr dns.RR) bool { return dns.IsDuplicate(rr, records[0]) })
		if args[0] == "add" {
			p.dns.zone = append(p.dns.zone, records...)
		}
		if len(p.dns.zone) == before {
			ts.Fatalf("%s: nothing changes", records[0])
		}
	case "rcode":
		rcode, ok := dns.StringToRcode[args[3]]
		qtype := dns.StringToType[args[2]]
		if !ok || qtype == 0 {
			ts.Fatalf("no type %s or no rcode %s", args[2], args[3])
		}
		p.dns.rcodes[dns.Question{Name: dns.Fqdn(args[1]), Qtype: qtype, Qclass: dns.ClassINET}] = rcode
	case "silent":
		p.dns.silent = true
	default:
		ts.Fatalf("dns %s?", args[0])
	}
}

func cmdCode(ts *testscript.TestScript, _ bool, args []string) {
	p := podOf(ts)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if len(args) == 1 {
		p.code = p.signaled.ProcessState.ExitCode()
	} else {
		p.code = 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("%v", err)
			}
			p.code = exit.ExitCode()
		}
	}
	if p.code != want {
		ts.Fatalf("exit code %d, not %d", p.code, want)
	}
}

func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	p := podOf(ts)
	p.signaled = ts.BackgroundCmds()[0]
	ts.Check(p.signaled.Process.Signal(map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "HUP": syscall.SIGHUP}[args[0]]))
}

func cmdReason(ts *testscript.TestScript, _ bool, args []string) {
	p := podOf(ts)
	want := regexp.QuoteMeta(os.Expand(args[0], ts.Getenv))
	want = strings.ReplaceAll(want, "<time>", `(\d+m)?[\d.]+m?s`)
	want = strings.ReplaceAll(want, "<clock>", `\d\d:\d\d:\d\d`)
	whole := regexp.MustCompile("^" + want + "$")
	got := ts.ReadFile(filepath.Join(ts.Getenv("PODFQDN_ROOT"), "dev/termination-log"))
	if !whole.MatchString(got) {
		ts.Fatalf("termination log:\n  %s\nnot\n  %s", got, os.Expand(args[0], ts.Getenv))
	}
	if len(got) > 4096 || // what the kubelet reads of it
		strings.ContainsFunc(got, unprintable) {
		ts.Fatalf("termination log: %d bytes, %+q", len(got), got)
	}
	lines := logLines(ts)
	last := lines[len(lines)-1]
	reason := strings.TrimPrefix(got, "podfqdn: ") // of exec
	if last["msg"] != "not published" && last["msg"] != "not found" || last["level"] != "error" || last["exit"] != float64(p.code) || last["reason"] != reason {
		ts.Fatalf("the log ends with %v", last)
	}
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// logFields are those of each line, in addition to level, ts and msg.
var logFields = map[string][]string{
	"unknown variable is ignored":                  {"variable"},
	"an earlier identity was removed":              {"because"},
	"waiting for forward and reverse DNS to agree": {"fqdn", "ips", "nameservers"},
	"asked":                             {"kind", "server", "finding", "verdict", "again"},
	"not yet":                           {"reason", "waited"},
	"tolerated":                         {"what"},
	"published":                         {"fqdn", "ips", "dir", "waited", "changed"},
	"earlier keys were removed":         {"what"},
	"a file of the source was not read": {"what"},
	"keys published":                    {"principals", "dir", "changed"},
	"peers found":                       {"what"},
	"waiting for names in DNS":          {"names", "nameservers"},
	"found":                             {"names", "waited"},
	"not found":                         {"reason", "exit"},
	"not published":                     {"reason", "exit"},
	"not executed":                      {"reason", "exit"},
	"published values replace inherited ones": {"variables"},
	"installed":                      {"file", "changed"},
	"the reason is in this log only": {"because"},
	"rendered files published":       {"dir", "changed"},
	"certificate found":              {"what"},
	"the certificate expires soon":   {"what"},
}

// logLines reads the log that init wrote to stderr, and holds it to its form.
func logLines(ts *testscript.TestScript) []map[string]any {
	text := ts.ReadFile("stderr")
	if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), unprintable) {
		ts.Fatalf("the log is not plain ASCII: %+q", text)
	}
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			ts.Fatalf("not JSON: %s: %v", line, err)
		}
		msg, _ := fields["msg"].(string)
		want, ok := logFields[msg]
		want = append([]string{"level", "ts", "msg"}, want...)
		for _, name := range []string{"asked", "answered", "again", "hint"} { // of a wait that has lasted
			if _, ok := fields[name]; ok && msg == "not yet" {
				want = append(want, name)
			}
		}
		for _, name := range []string{"principals", "peers", "certificate"} {
			if _, required := fields[name]; required && msg == "waiting for forward and reverse DNS to agree" {
				want = append(want, name)
			}
		}
		if fields["kind"] == "existence" && msg == "asked" {
			want = append(want, "probe")
		}
		if !ok || len(fields) != len(want) {
			ts.Fatalf("unexpected fields: %s", line)
		}
		for _, name := range want {
			if _, ok := fields[name]; !ok {
				ts.Fatalf("no %q: %s", name, line)
			}
		}
		lines = append(lines, fields)
	}
	return lines
}

// listing is every file of the volume, to the inode and the nanosecond.
func listing(ts *testscript.TestScript) string {
	var b strings.Builder
	dir := ts.Getenv("PODFQDN_DIR")
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(&b, err)
			return nil
		}
		info, err := entry.Info()
		ts.Check(err)
		if path == dir && info.IsDir() {
			return nil // its time changes when the room is probed
		}
		target, _ := os.Readlink(path)
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime(), info.Size(), info.Sys().(*syscall.Stat_t).Ino, target)
		return nil
	})
	return b.String()
}

func cmdSnapshot(ts *testscript.TestScript, _ bool, _ []string) { podOf(ts).snapshot = listing(ts) }

func cmdUnchanged(ts *testscript.TestScript, _ bool, _ []string) {
	if before, now := podOf(ts).snapshot, listing(ts); now != before {
		ts.Fatalf("the volume held\n%sand holds\n%s", before, now)
	}
}

func cmdWatch(ts *testscript.TestScript, _ bool, _ []string) {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	ts.Check(err)
	ts.Defer(func() { syscall.Close(fd) })
	_, err = syscall.InotifyAddWatch(fd, ts.Getenv("PODFQDN_DIR"),
		syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_DELETE)
	ts.Check(err)
	podOf(ts).watch = fd
}

func cmdChanges(ts *testscript.TestScript, _ bool, _ []string) {
	buffer := make([]byte, 64<<10)
	n, err := syscall.Read(podOf(ts).watch, buffer)
	if err == syscall.EAGAIN {
		return
	}
	ts.Check(err)
	for at := 0; at < n; {
		// inotify(7): wd, mask, cookie, len, name.
		mask := binary.NativeEndian.Uint32(buffer[at+4:])
		size := int(binary.NativeEndian.Uint32(buffer[at+12:]))
		at += syscall.SizeofInotifyEvent
		name := strings.TrimRight(string(buffer[at:at+size]), "\x00")
		at += size
		if strings.HasPrefix(name, "..") && name != "..data" {
			continue
		}
		sign := "+"
		if mask&syscall.IN_DELETE != 0 {
			sign = "-"
		}
		fmt.Fprintln(ts.Stdout(), sign, name)
	}
}

func cmdPublished(ts *testscript.TestScript, _ bool, args []string) {
	golden, err := filepath.Abs(filepath.Join("testdata/golden", args[0]))
	ts.Check(err)
	dir := ts.Getenv("PODFQDN_DIR")
	want := append(names(ts, golden), volume.Verified)
	slices.Sort(want)
	if got := names(ts, dir); !slices.Equal(got, want) {
		ts.Fatalf("the volume shows %q, not %q", got, want)
	}
	for _, name := range want {
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil || target != "..data/"+name {
			ts.Fatalf("%s leads to %q: %v", name, target, err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		ts.Check(err)
		if info.Mode() != 0o644 {
			ts.Fatalf("%s has mode %v", name, info.Mode())
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		ts.Check(err)
		var text []byte
		if name != volume.Verified {
			text, err = os.ReadFile(filepath.Join(golden, name))
			ts.Check(err)
		}
		if string(got) != string(text) {
			ts.Fatalf("%s holds\n%q, not\n%q", name, got, text)
		}
	}
	logLines(ts)
}

func cmdKeytab(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path+".new", podtest.Keytab(args[1:]...), 0o640))
	ts.Check(os.Rename(path+".new", path))
}

func cmdCertificate(ts *testscript.TestScript, _ bool, args []string) {
	issued := podtest.Certificate{Names: args[1:]}.Issue()
	dir := ts.MkAbs(args[0])
	ts.Check(errors.Join(
		os.WriteFile(filepath.Join(dir, "tls.crt"), issued.PEM(), 0o644),
		os.WriteFile(filepath.Join(dir, "tls.key"), issued.KeyPEM(), 0o600)))
}

func cmdForgets(ts *testscript.TestScript, _ bool, args []string) {
	verified := filepath.Join(ts.Getenv("PODFQDN_DIR"), volume.Verified)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(verified); err == nil {
			break
		} else if time.Now().After(end) {
			ts.Fatalf("nothing is published: %v", err)
		}
	}
	process := fmt.Sprintf("/proc/%d/", ts.BackgroundCmds()[0].Process.Pid)
	memory, err := os.Open(process + "mem")
	if os.Geteuid() != 0 {
		if !errors.Is(err, fs.ErrPermission) {
			ts.Fatalf("its memory is open to uid %d: %v", os.Geteuid(), err)
		}
		return
	}
	ts.Check(err)
	defer memory.Close()
	// It may be just about to.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if left := inMemory(ts, process, memory, args); left == "" {
			return
		} else if time.Now().After(end) {
			ts.Fatalf("the key of %s is in its memory", left)
		}
	}
}

// inMemory gives an entry whose key is in a process's memory; "" if none is.
func inMemory(ts *testscript.TestScript, process string, memory *os.File, entries []string) (left string) {
	maps, err := os.ReadFile(process + "maps")
	ts.Check(err)
	var found bool // what is known to be there
	for region := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		fmt.Sscanf(region, "%x-%x %s", &from, &to, &rights)
		// What is larger is not the heap, but the race detector's.
		if !strings.HasPrefix(rights, "rw") || to-from > 256<<20 {
			continue
		}
		here := make([]byte, to-from)
		n, _ := memory.ReadAt(here, from)
		found = found || bytes.Contains(here[:n], []byte("PODFQDN_KRB5_SOURCE="))
		for _, entry := range entries {
			if bytes.Contains(here[:n], podtest.Key(entry)) {
				left = entry
			}
		}
	}
	if !found {
		ts.Fatalf("not even its environment is found in its memory")
	}
	return left
}

// names returns the names in a directory that are part of the contract, in order.
func names(ts *testscript.TestScript, dir string) []string {
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	var list []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "..") {
			list = append(list, entry.Name())
		}
	}
	return list
}
