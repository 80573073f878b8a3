package render_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/render"
)

// claimed is the claim of db-0 with an address.
func claimed(addr string) identity.Claim {
	return podtest.Claim(podtest.DB0.Files("cluster.local", addr), identity.Given{}, identity.Policy{})
}

const address = "10.244.1.7"

var others = render.Others{
	Variables: []string{"KRB5_KTNAME", "KRB5_CONFIG", "POD_PEERS"},
	Additions: []identity.Addition{{Environment: []string{"KRB5_KTNAME='/krb5/keytab'"}}},
}

// requirement makes the only one for src.
func requirement(t *testing.T, claim identity.Claim, src string) *identity.Requirement {
	t.Helper()
	var pairs render.Pairs
	if err := pairs.UnmarshalText([]byte(src + ":" + t.TempDir())); err != nil {
		t.Fatal(err)
	}
	all, err := pairs.Requirements(claim, others)
	if err != nil || len(all) != 1 {
		t.Fatal(len(all), err)
	}
	return all[0]
}

// shown gives files as text, but for the hidden one.
func shown(files []identity.File) string {
	var b strings.Builder
	for _, f := range files {
		if !strings.HasPrefix(f.Name, "..") {
			fmt.Fprintf(&b, "%s %v %q\n", f.Name, f.Mode, f.Data)
		}
	}
	return b.String()
}

func TestFilesAreRenderedWithTheValuesOfTheIdentityAndOfOthers(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{
		"server.conf":   "name=$(POD_FQDN)\nid=$(POD_ORDINAL+1)\nkeytab=$(KRB5_KTNAME)\n",
		"conf.d/plain":  "pa$$word ${POD_FQDN} $(HOSTNAME) $$(POD_FQDN)\n",
		"conf.d/run.sh": "#!/bin/sh\n",
	})
	if err := os.Chmod(filepath.Join(src, "conf.d/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	claim := claimed(address)
	r := requirement(t, claim, src)
	names, err := r.Prepare()
	if err != nil || fmt.Sprint(names) != "[..rendered conf.d/plain conf.d/run.sh server.conf]" {
		t.Errorf("%q, %v", names, err)
	}
	// What becomes of the source then does not matter any more.
	if err := os.RemoveAll(src); err != nil {
		t.Fatal(err)
	}
	for range 2 { // another requirement may not be met the first time
		files, err := r.Require(t.Context(), podtest.Proven(claim), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := `conf.d/plain -rw-r--r-- "pa$$word ${POD_FQDN} $(HOSTNAME) $(POD_FQDN)\n"
conf.d/run.sh -rwxr-xr-x "#!/bin/sh\n"
server.conf -rw-r--r-- "name=db-0.db.default.svc.cluster.local\nid=1\nkeytab=/krb5/keytab\n"
`
		if got := shown(files); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		for _, f := range files {
			clear(f.Data)
		}
	}
}

func TestWhatWasRenderedForThisPodIsKept(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"a": "$(POD_IP)"})
	claim := claimed(address)
	files, err := requirement(t, claim, src).Require(t.Context(), podtest.Proven(claim), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := requirement(t, claim, src).Outlet.Keeps(files); err != nil {
		t.Error(err)
	}
	for want, err := range map[string]error{
		`they are for another address, "10.244.1.7"`: requirement(t, claimed("10.244.1.8"), src).Outlet.Keeps(files),
		"nothing was rendered":                       requirement(t, claim, src).Outlet.Keeps(nil),
		`they are for another name, ""`:              requirement(t, claim, src).Outlet.Keeps([]identity.File{{Name: "..rendered"}}),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestAReferenceThatCannotBeReplacedIsRefusedBeforeDNSIsAsked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\n$(POD_FQDN+1)":                     `"SRC/d/a", line 2: "$(POD_FQDN+1)" is not a reference: only POD_ORDINAL takes +N: write $(POD_FQDN)`,
		"$(POD_PEERS[;]:{fqdn})":              `"SRC/d/a", line 1: this Pod does not have POD_PEERS: set PODFQDN_PEERS, such as 3, or remove the reference, or write $$(POD_PEERS) where $(POD_PEERS) has to stay`,
		"\n\nx$(KRB5_CONFIG)\n$(KRB5_CONFIG)": `"SRC/d/a", line 3: this Pod does not have KRB5_CONFIG: remove the reference, or write $$(KRB5_CONFIG) where $(KRB5_CONFIG) has to stay`,
	} {
		src := t.TempDir()
		write(t, src, map[string]string{"d/a": text})
		r := requirement(t, claimed(address), src)
		_, err := r.Prepare()
		want := strings.ReplaceAll(want, "SRC", src)
		if !errors.As(err, new(*identity.Refusal)) || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		if err := r.Check(context.Background(), nil); err == nil || err.Error() != want {
			t.Errorf("Check: %v", err)
		}
	}
}

func TestPeersAreRenderedAndOneThatDoesNotFitIsRefusedBeforeDNSIsAsked(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"zoo.cfg": "a=1\n$(POD_PEERS[\\n]:server.{ordinal+1}={fqdn}:2888)\n"})
	var pairs render.Pairs
	if err := pairs.UnmarshalText([]byte(src + ":" + t.TempDir())); err != nil {
		t.Fatal(err)
	}
	claim := claimed(address)
	for peers, want := range map[string]string{
		"zk-0.zk,zk-1.zk": "",
		"zk-0.zk,jn.zk": `"` + src + `/zoo.cfg", line 2: POD_PEERS has peer "jn.zk", which has no ordinal for {ordinal+1}: ` +
			`its hostname does not end with a hyphen and a number: name peers such as zk-0, or leave {ordinal+1} out`,
	} {
		all, err := pairs.Requirements(claim, render.Others{Variables: []string{"POD_PEERS"}, Additions: []identity.Addition{{Environment: []string{"POD_PEERS='" + peers + "'"}}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = all[0].Prepare()
		if want != "" {
			if !errors.As(err, new(*identity.Refusal)) || err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
			continue
		}
		files, requireErr := all[0].Require(t.Context(), podtest.Proven(claim), nil)
		if err := errors.Join(err, requireErr); err != nil {
			t.Fatal(err)
		}
		if got, want := shown(files), `zoo.cfg -rw-r--r-- "a=1\nserver.1=zk-0.zk:2888\nserver.2=zk-1.zk:2888\n"`+"\n"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestAPodWithoutAnOrdinalIsToldHowToHaveOne(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"a": "$(POD_ORDINAL+1)"})
	web := podtest.Pod{Name: "web", Namespace: "default", Hostname: "web", Subdomain: "web"}
	claim := podtest.Claim(web.Files("cluster.local", address), identity.Given{}, identity.Policy{})
	_, err := requirement(t, claim, src).Prepare()
	want := `line 1: this Pod does not have POD_ORDINAL: in a StatefulSet or an Indexed Job set POD_ORDINAL from the label apps.kubernetes.io/pod-index; elsewhere remove the reference`
	if !errors.As(err, new(*identity.Refusal)) || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
}

func TestWhatIsTooLargeOnceItIsRenderedIsRefused(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"a": strings.Repeat("$(POD_FQDN)", 400_000)})
	claim := claimed(address)
	_, err := requirement(t, claim, src).Require(t.Context(), podtest.Proven(claim), nil)
	if !errors.As(err, new(*identity.Refusal)) || !strings.Contains(err.Error(), "has more than 8 MiB when it is rendered") {
		t.Error(err)
	}
}

func TestPairsAreAbsolutePaths(t *testing.T) {
	t.Parallel()
	var pairs render.Pairs
	for _, text := range []string{"a:/b", "/a:b", "/a", "/a:", ":/b", "/a:/b,", ",", "/a:/b:/c", "/a:/b,c:/d", " /a:/b", "/a\x00:/b"} {
		if err := pairs.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "must be SRC:DST, two absolute paths") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := pairs.UnmarshalText(nil); err != nil {
		t.Error(err)
	}
	if all, err := pairs.Requirements(identity.Claim{}, render.Others{}); len(all) > 0 || err != nil {
		t.Error(all, err)
	}
}

func TestSourcesAndVolumesAreApart(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, name := range []string{"identity/in", "krb5", "src", "dst/in", "dst2"} {
		if err := os.MkdirAll(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("identity", filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	dirs := []string{base + "/identity", base + "/krb5/"}
	for text, fine := range map[string]bool{
		"src:dst":                true,
		"src:dst,src:dst2":       true,
		"src:missing,none:dst2":  true,
		"src2:src":               true, // whose name begins so, and which is not in it
		"src:src":                false,
		"src:src/in":             false,
		"dst/in:dst":             false,
		"src:dst,src:dst":        false,
		"src:dst,src:dst/in":     false,
		"src:dst,dst:dst2":       false,
		"src:dst,dst/in:dst2":    false,
		"src:identity":           false,
		"src:identity/in":        false,
		"src:link/in":            false,
		"link:dst":               false,
		"src/../identity/in:dst": false,
		"krb5:dst":               false,
		"src:krb5/none":          false,
		".:dst":                  false, // which has all of them in it
	} {
		var list []string
		for pair := range strings.SplitSeq(text, ",") {
			src, dst, _ := strings.Cut(pair, ":")
			list = append(list, base+"/"+src+":"+base+"/"+dst)
		}
		var pairs render.Pairs
		if err := pairs.UnmarshalText([]byte(strings.Join(list, ","))); err != nil {
			t.Fatal(err)
		}
		_, err := pairs.Requirements(identity.Claim{}, render.Others{Dirs: dirs})
		if fine != (err == nil) || err != nil && (!errors.As(err, new(*identity.Refusal)) || !strings.Contains(err.Error(), "overlap")) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
