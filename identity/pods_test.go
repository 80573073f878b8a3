package identity_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
	"golang.org/x/tools/txtar"
)

// pod is one archive of testdata/pods: a whole Pod, and what it claims.
//
//	env         NAME=value lines, as in Given's struct tags
//	policy      name-form=… and families=…; default without
//	interfaces  their addresses; who looks at them without need fails
//	etc/…, var/…  the Pod's files; <CR> stands for a carriage return
//	claim       the whole claim, as describe gives it, or
//	refusal     the sentence
type pod struct {
	given      identity.Given
	policy     identity.Policy
	interfaces []netip.Addr
	looked     bool // there is a section interfaces
	root       fstest.MapFS
	claim      string
	refusal    string
	comment    string
}

func TestPodsClaimTheirNameOrSayWhichFieldToSet(t *testing.T) {
	for name, p := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			got, err := p.describe(t)
			if p.refusal != "" {
				if err == nil || err.Error()+"\n" != p.refusal {
					t.Errorf("got\n%s%v\nwant the refusal\n%s", got, err, p.refusal)
				}
				checkRefusal(t, err)
				return
			}
			if err != nil || got != p.claim {
				t.Errorf("got\n%s%v\nwant the claim\n%s", got, err, p.claim)
			}
		})
	}
}

// The corpus is an input of other tests too; an empty one would let them pass.
func TestTheCorpusOfPodsHoldsClaimsAndRefusals(t *testing.T) {
	claims, refusals := 0, 0
	for name, p := range corpus(t) {
		if p.comment == "" {
			t.Errorf("%s does not say what Pod it is", name)
		}
		if p.claim != "" {
			claims++
		} else {
			refusals++
		}
	}
	if claims < 28 || refusals < 28 {
		t.Errorf("%d claims and %d refusals", claims, refusals)
	}
}

// corpus reads testdata/pods.
func corpus(t testing.TB) map[string]pod {
	t.Helper()
	paths, err := filepath.Glob("testdata/pods/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Pods in testdata/pods: %v", err)
	}
	pods := make(map[string]pod)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPod(archive)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		pods[strings.TrimSuffix(filepath.Base(path), ".txtar")] = p
	}
	return pods
}

func readPod(archive *txtar.Archive) (pod, error) {
	p := pod{root: fstest.MapFS{}, comment: string(archive.Comment)}
	for _, file := range archive.Files {
		var err error
		switch file.Name {
		case "env":
			p.given, err = readGiven(string(file.Data))
		case "policy":
			p.policy, err = readPolicy(string(file.Data))
		case "interfaces":
			p.looked = true
			for line := range strings.Lines(string(file.Data)) {
				p.interfaces = append(p.interfaces, netip.MustParseAddr(strings.TrimSpace(line)))
			}
		case "claim":
			p.claim = string(file.Data)
		case "refusal":
			p.refusal = string(file.Data)
		case "etc/hosts", "etc/resolv.conf", "etc/hostname", "var/run/secrets/kubernetes.io/serviceaccount/namespace":
			data := bytes.ReplaceAll(file.Data, []byte("<CR>"), []byte("\r"))
			p.root[file.Name] = &fstest.MapFile{Data: data, Mode: 0o644}
		default:
			err = errors.New("it is no section of a Pod")
		}
		if err != nil {
			return pod{}, fmt.Errorf("section %s: %w", file.Name, err)
		}
	}
	if (p.claim == "") == (p.refusal == "") {
		return pod{}, errors.New("it needs a claim or a refusal")
	}
	return p, nil
}

// readGiven reads NAME=value lines by the struct's tags.
func readGiven(text string) (given identity.Given, err error) {
	fields := make(map[string]reflect.Value)
	for i := range reflect.TypeFor[identity.Given]().NumField() {
		name := reflect.TypeFor[identity.Given]().Field(i).Tag.Get("env")
		fields[name] = reflect.ValueOf(&given).Elem().Field(i)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, ok := fields[name]; !ok {
			return given, fmt.Errorf("%q is no variable", name)
		}
		fields[name].SetString(value)
	}
	return given, nil
}

func readPolicy(text string) (p identity.Policy, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "name-form":
			err = p.NameForm.UnmarshalText([]byte(value))
		case "families":
			err = p.Families.UnmarshalText([]byte(value))
		default:
			err = errors.New("it is no setting")
		}
		if err != nil {
			return p, fmt.Errorf("%q: %w", line, err)
		}
	}
	return p, nil
}

// look sees what the Pod sees.
func (p pod) look(t testing.TB) (identity.Facts, error) {
	return identity.Look(p.root, p.given, func() ([]netip.Addr, error) {
		if !p.looked {
			t.Error("the interfaces were looked at without need")
		}
		return p.interfaces, nil
	})
}

// describe gives the whole claim as text.
func (p pod) describe(t testing.TB) (string, error) {
	facts, err := p.look(t)
	if err != nil {
		return "", err
	}
	claim, err := facts.Claim(p.policy)
	if err != nil {
		return "", err
	}
	return describe(facts, claim), nil
}

func describe(f identity.Facts, c identity.Claim) string {
	var b strings.Builder
	say := func(what, value, from string) {
		if from != "" {
			from = " from " + from
		}
		if value != "" {
			fmt.Fprintf(&b, "%s: %s%s\n", what, value, from)
		}
	}
	service, namespace := c.Service()
	say("name", c.Name().String(), "")
	say("zone", c.Zone().String(), "")
	say("to be proven", show(c.Addrs()), "")
	say("Service", service, "")
	say("namespace", namespace, "")
	say("or else", show(c.Instead()), "")
	say("asks", show(f.Nameservers), "")
	say("seen UID", f.UID, "")
	say("seen Pod name", f.PodName, "")
	say("seen FQDN", f.FQDN.Value, f.FQDN.From)
	say("seen hostname", f.Hostname.Value, f.Hostname.From)
	say("seen Service", f.Service.Value, f.Service.From)
	say("seen namespace", f.Namespace.Value, f.Namespace.From)
	say("seen cluster domain", f.ClusterDomain.Value, f.ClusterDomain.From)
	say("seen override", f.Override.Value, f.Override.From)
	say("seen addresses", show(f.Addrs), f.AddrsFrom)
	if f.HostNetwork {
		say("seen hostNetwork", "true", "")
	}
	return b.String()
}

// show gives things with commas between.
func show[T fmt.Stringer](things []T) string {
	var words []string
	for _, thing := range things {
		words = append(words, thing.String())
	}
	return strings.Join(words, ", ")
}

var (
	command = regexp.MustCompile(`\b(set|write) `)
	settled = regexp.MustCompile(`\b(POD_[A-Z]+|PODFQDN_[A-Z_]+|spec\.[a-zA-Z]+|dnsPolicy|dnsConfig\.nameservers)\b`)
)

// checkRefusal holds a refusal to its form: one line of printable ASCII that
// tells which field or variable to set.
func checkRefusal(t testing.TB, err error) {
	t.Helper()
	var refusal *identity.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%v is no refusal", err)
		return
	}
	var mismatch *identity.Mismatch
	if errors.As(err, &mismatch) {
		t.Errorf("%q is a mismatch too: never cannot be not yet", err)
	}
	sentence := refusal.Error()
	if at := slices.IndexFunc([]byte(sentence), func(b byte) bool { return b < ' ' || b > '~' }); at >= 0 {
		t.Errorf("%q is not one line of ASCII from byte %d on", sentence, at)
	}
	if !command.MatchString(sentence) || !settled.MatchString(sentence) {
		t.Errorf("%q does not say what to set", sentence)
	}
}
