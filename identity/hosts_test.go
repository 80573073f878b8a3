package identity_test

import (
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

const (
	managed = "# Kubernetes-managed hosts file.\n"
	ofNode  = "# Kubernetes-managed hosts file (host network).\n"
	aliases = "\n# Entries added by HostAliases.\n"
)

func TestHostsReturnsTheKubeletsOwnLines(t *testing.T) {
	for _, test := range []struct {
		name, text  string
		want        []string
		hostNetwork bool
	}{
		{name: "nothing", text: ""},
		{name: "no header", text: "10.1.2.3 a.b.c.svc.d a\n"},
		{name: "a header that is not the first line", text: "\n" + podtest.Managed + "10.1.2.3 a\n"},
		{name: "the header alone", text: "# Kubernetes-managed hosts file."},
		{name: "the node's file", text: ofNode + "10.1.2.3 a.b.c.svc.d a\n", hostNetwork: true},
		{name: "no final newline", text: podtest.Managed + "10.1.2.3\ta", want: []string{"10.1.2.3 a"}},
		{name: "CR LF", text: "# Kubernetes-managed hosts file.\r\n10.1.2.3\ta\r\n", want: []string{"10.1.2.3 a"}},
		{name: "blanks before and between", text: podtest.Managed + " \t10.1.2.3 \t a\t b  \n", want: []string{"10.1.2.3 a b"}},
		{name: "comments", text: podtest.Managed + "#10.1.2.4 x\n10.1.2.3 a # b\n10.1.2.5 #c\n", want: []string{"10.1.2.3 a"}},
		{name: "names as written", text: podtest.Managed + "10.1.2.3 A.B a\n", want: []string{"10.1.2.3 A.B a"}},
		{name: "both families in order", text: podtest.Managed + "fd00::1 a\n10.1.2.3 a\n", want: []string{"fd00::1 a", "10.1.2.3 a"}},
		{name: "an IPv4 address in IPv6 form", text: podtest.Managed + "::ffff:10.1.2.3 a\n", want: []string{"10.1.2.3 a"}},
		{name: "an address without name", text: podtest.Managed + "10.1.2.3\n10.1.2.4 a\n", want: []string{"10.1.2.4 a"}},
		{name: "no address", text: podtest.Managed + "10.1.2 a\n10.1.2.300 a\nname a\n"},
		{name: "addresses that no Pod has", text: podtest.Managed +
			"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n" +
			"fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\nfe80::1 a\nfe80::1%eth0 a\n169.254.1.1 a\n0.0.0.0 a\n:: a\n224.0.0.1 a\nff02::1 a\n255.255.255.255 a\n"},
		{name: "what stands below HostAliases", text: podtest.Managed + "10.1.2.3 a\n" + aliases + "10.1.2.4 b\n10.1.2.3 c\n", want: []string{"10.1.2.3 a"}},
		{name: "HostAliases alone", text: podtest.Managed + aliases + "10.1.2.3 c\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, hostNetwork := identity.HostsLines(test.text)
			if !slices.Equal(got, test.want) || hostNetwork != test.hostNetwork {
				t.Errorf("got %q, %t", got, hostNetwork)
			}
		})
	}
}

func TestHostsLineIsReadInTheKubeletsForms(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"a.b.c.svc.cluster.local a", "hostname=a service=b namespace=c domain=cluster.local override="},
		{"a.b.c.svc.k8s a", "hostname=a service=b namespace=c domain=k8s override="},
		{"a.b.c.svc. a", "hostname=a service=b namespace=c domain= override="},
		{"x.y.b.c.svc.cluster.local x.y", "hostname=x.y service=b namespace=c domain=cluster.local override="},
		{"a", "hostname=a service= namespace= domain= override="},
		{"a.b.c.svc.cluster.local", "hostname= service= namespace= domain= override=a.b.c.svc.cluster.local"},
		{"a.b.c.pod.cluster.local a", "hostname=a service= namespace= domain= override="},
		{"a.b.c.svc a", "hostname=a service= namespace= domain= override="},
		{"a.b a", "hostname=a service= namespace= domain= override="},
		{"ab.c.d.svc.e a", "hostname=a service= namespace= domain= override="},
		{"b a", "hostname=a service= namespace= domain= override="},
	} {
		if got := identity.HostsRead(podtest.Managed + "10.1.2.3 " + test.line + "\n"); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.line, got, test.want)
		}
	}
}

// lateHosts is a Pod whose hosts file has its text from a time on: the kubelet
// truncates it first, then writes.
type lateHosts struct {
	files  fstest.MapFS
	from   time.Time
	before string // what it holds until then
}

func (l lateHosts) Open(name string) (fs.File, error) {
	if name == "etc/hosts" && time.Now().Before(l.from) {
		return fstest.MapFS{name: {Data: []byte(l.before)}}.Open(name)
	}
	return l.files.Open(name)
}

func TestLookWaitsForAHostsFileThatIsBeingWrittenForASecond(t *testing.T) {
	files := podtest.DB0.Files("cluster.local", "10.244.0.27")
	for _, test := range []struct {
		late     time.Duration
		before   string
		atLeast  time.Duration
		atMost   time.Duration
		hostname identity.Fact
	}{
		{0, "", 0, 0, identity.Fact{Value: "db-0", From: "/etc/hosts"}},
		{15 * time.Millisecond, "", 15 * time.Millisecond, 30 * time.Millisecond, identity.Fact{Value: "db-0", From: "/etc/hosts"}},
		{15 * time.Millisecond, "10.244.0.27\tdb-0.db.def", 15 * time.Millisecond, 30 * time.Millisecond, identity.Fact{Value: "db-0", From: "/etc/hosts"}},
		{900 * time.Millisecond, "", 900 * time.Millisecond, 920 * time.Millisecond, identity.Fact{Value: "db-0", From: "/etc/hosts"}},
		{time.Minute, "", time.Second, 1020 * time.Millisecond, identity.Fact{Value: "db-0", From: "/etc/hostname"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			facts, err := identity.Look(lateHosts{files, start.Add(test.late), test.before}, identity.Given{PodIPs: "10.244.0.27"}, nil)
			took := time.Since(start)
			if err != nil || facts.Hostname != test.hostname || took < test.atLeast || took > test.atMost {
				t.Errorf("after %s: hostname %v, error %v in %s", test.late, facts.Hostname, err, took)
			}
		})
	}
}

func TestLookDoesNotWaitForAHostsFileThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		facts, err := identity.Look(fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 10.96.0.10\n")}}, identity.Given{}, nil)
		want := identity.Facts{
			FQDN:        identity.Fact{From: "PODFQDN_FQDN"},
			Override:    identity.Fact{From: "/etc/hosts"},
			Nameservers: []netip.AddrPort{netip.MustParseAddrPort("10.96.0.10:53")},
		}
		if err != nil || time.Since(start) != 0 || describe(facts, identity.Claim{}) != describe(want, identity.Claim{}) {
			t.Errorf("got %+v, %v after %s", facts, err, time.Since(start))
		}
	})
}

func TestLookReadsOnlyRegularFilesOfBoundedSize(t *testing.T) {
	good := func() fstest.MapFS {
		return podtest.DB0.Files("cluster.local", "10.244.0.27")
	}
	given := identity.Given{Nameservers: "10.96.0.10", PodIPs: "10.244.0.27"}
	for path, mend := range map[string]string{
		"etc/hosts":    "do not mount anything over it, since the kubelet writes it",
		"etc/hostname": "set PODFQDN_HOSTNAME",
		"var/run/secrets/kubernetes.io/serviceaccount/namespace": "set POD_NAMESPACE from metadata.namespace",
		"etc/resolv.conf": "mount it, or set PODFQDN_NAMESERVERS",
	} {
		good := func() fstest.MapFS {
			root := good()
			if path == "etc/hostname" || path == "var/run/secrets/kubernetes.io/serviceaccount/namespace" {
				// They are read only where the kubelet's hosts file does not tell.
				root["etc/hosts"] = &fstest.MapFile{Data: []byte("127.0.0.1 localhost\n")}
			}
			return root
		}
		for what, file := range map[string]*fstest.MapFile{
			"too large":   {Data: []byte(strings.Repeat("#", 1<<20+1))},
			"a directory": {Mode: fs.ModeDir | 0o755},
			"a pipe":      {Mode: fs.ModeNamedPipe | 0o644},
		} {
			root := good()
			root[path] = file
			_, err := identity.Look(root, given, nil)
			want := "read /" + path + ": it is not a regular file of at most 1048576 bytes: " + mend
			if err == nil || err.Error() != want {
				t.Errorf("%s that is %s: got %v, want %s", path, what, err, want)
			}
		}
		for _, cause := range []error{fs.ErrPermission, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}} {
			_, err := identity.Look(unreadable{good(), path, cause}, given, nil)
			want := "read /" + path + ": permission denied: " + mend
			if err == nil || err.Error() != want {
				t.Errorf("%s that cannot be read: got %v, want %s", path, err, want)
			}
		}
	}
}

// unreadable is a Pod one of whose files can be seen but not read.
type unreadable struct {
	fstest.MapFS
	path  string
	cause error
}

func (u unreadable) ReadFile(name string) ([]byte, error) {
	if name == u.path {
		return nil, u.cause
	}
	return u.MapFS.ReadFile(name)
}
