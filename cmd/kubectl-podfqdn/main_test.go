package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podfqdn/podfqdn/cmd/internal/build"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/kube"
)

func TestMainIsFourLines(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "main" {
			if lines := set.Position(f.Body.Rbrace).Line - set.Position(f.Body.Lbrace).Line - 1; lines > 4 {
				t.Errorf("main has %d lines", lines)
			}
			return
		}
	}
	t.Error("main.go has no main")
}

// What needs an API server is shown on a real one, in integration/e2e.
func TestAMistakeInTheCommandLineIsOneSentenceAndTen(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for _, c := range []struct{ args, want string }{
		{"", "a command is missing: use doctor or version"},
		{"check", `unknown command "check": use doctor or version`},
		{"version 1", `version takes no argument, got "1"`},
		{"version --short", "unknown flag: --short"},
		{"doctor", "want one Pod, got 0: kubectl podfqdn doctor POD, or -l SELECTOR, or -A"},
		{"doctor a b", "want one Pod, got 2"},
		{"doctor -A a", `a Pod, "a", and --selector or --all-namespaces: use one or the other`},
		{"doctor svc/db", `"svc/db" is not a Pod: use kubectl podfqdn doctor POD, or statefulset/NAME`},
		{"doctor sts/db a", "want one Pod, got 2"},
		{"doctor pod/", `want pod/NAME, got "pod/"`},
		{"doctor deploy/a/b", `want deploy/NAME, got "deploy/a/b"`},
		{"doctor daemonset/x", `"daemonset/x" is not a Pod`},
		{"doctor -A sts/db", "use one or the other"},
		{"doctor -c a -l app=b", "--container needs one Pod"},
		{"doctor -c a sts/db", "--container needs one Pod"},
		{"doctor -o xml a", `--output="xml": must be json, yaml`},
		{"doctor -l (a", `--selector="(a": `},
		{"doctor --nonsense a", "unknown flag: --nonsense"},
		{"doctor a", "there is no kubeconfig: set KUBECONFIG, or use --kubeconfig"},
		{"doctor --kubeconfig /nowhere a", "/nowhere: no such file"},
		{"doctor --context none a", `context "none" does not exist`},
	} {
		var out, errs strings.Builder
		code := run(t.Context(), strings.Fields(c.args), &out, &errs)
		if code != 10 || !strings.HasPrefix(errs.String(), "kubectl podfqdn: ") || !strings.Contains(errs.String(), c.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, want %q", c.args, code, errs.String(), c.want)
		}
	}
}

func TestHelpNeedsNothing(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for _, args := range []string{"help", "--help", "doctor --help"} {
		var out, errs strings.Builder
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != 0 || !strings.Contains(out.String(), "doctor") || errs.Len() > 0 {
			t.Errorf("%q: exit code %d, %q", args, code, errs.String())
		}
	}
}

// It is podfqdn's line with another name in front, so that the two can be compared.
func TestTheVersionIsOneLineAndNeedsNothing(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	want := build.Line("kubectl podfqdn") + "\n"
	for _, args := range []string{"version", "--version"} {
		var out, errs strings.Builder
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != 0 || out.String() != want || errs.Len() > 0 {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
}

// silence is an API server that takes connections and says nothing.
func silence(t *testing.T) (asked <-chan struct{}, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	connected := make(chan struct{}, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			connected <- struct{}{}
		}
	}()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	return connected, []string{"doctor", "db-0", "--server", "http://" + listener.Addr().String()}
}

func TestAnInterruptEndsTheWaitForTheAPIServer(t *testing.T) {
	asked, args := silence(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	var out, errs strings.Builder
	if code := run(ctx, args, &out, &errs); code != 130 || errs.String() != "kubectl podfqdn: interrupted\n" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

func TestAnAPIServerThatIsSilentOrAwayIsToldOf(t *testing.T) {
	_, args := silence(t)
	var out, errs strings.Builder
	if code := run(t.Context(), append(args, "--request-timeout", "100ms"), &out, &errs); code != 1 || !strings.Contains(errs.String(), "the API server does not answer within 100ms") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	errs.Reset()
	if code := run(t.Context(), []string{"doctor", "db-0", "--server", "http://127.0.0.1:1"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "connection refused") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

func TestTheTextTellsWhatWasSeenThenWhatToDo(t *testing.T) {
	t.Parallel()
	r := report{
		Schema: 1,
		Use:    kube.Use{Namespace: "prod", Pod: "db-0", State: kube.Waiting, Container: "podfqdn", For: time.Minute},
		Facts:  []diagnosis.Seen{{Name: "hostname", Value: `"db-0"`, From: `Pod "db-0", spec.hostname`}, {Name: "Pod", Value: "Pending\x1b[2J", From: "status"}},
		NoWire: "you are not allowed to create pods/exec",
		Lacks:  []kube.Right{{Verb: "create", Resource: "pods/exec", Namespace: "prod"}},
		Grant:  []string{"kubectl create role x"},
		Causes: []diagnosis.Cause{{Kind: diagnosis.NoService, Why: "there is none", Change: "make one", Command: `echo '{"a":"\d"}' | kubectl create`}},
	}
	var b strings.Builder
	r.text(&b)
	const want = `not healthy: Pod db-0 in namespace prod: service-missing

what the API says
  hostname  "db-0"  (Pod "db-0", spec.hostname)
  Pod       Pending\x1b[2J  (status)

what could not be seen
  you are not allowed to create pods/exec in API group "", namespace "prod"

and how an administrator grants it
  kubectl create role x

the view from the wire
  none: you are not allowed to create pods/exec

causes, the most likely first
  1. service-missing
     why     there is none
     change  make one
     run     echo '{"a":"\d"}' | kubectl create
`
	if b.String() != want {
		t.Errorf("it says\n%s\nnot\n%s", b.String(), want)
	}
}

// What is to be pasted leads to the same cluster.
func TestTheTableLeadsToTheWorstPodInTheSameCluster(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	l := list{Schema: 1, Pods: []kube.Use{{Namespace: "prod", Pod: "db-0", State: kube.Refused}}, kubectl: "kubectl --context=prod"}
	l.text(&b)
	if want := "\nsee kubectl podfqdn doctor -n prod db-0 --context=prod\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q", b.String())
	}
}

// Who asks is not who may grant, and no command shows a token.
func TestAnAdministratorsCommandIsNotTheViewers(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	code := 0
	c := doctorCommand(io.Discard, &code)
	d := doctor{rules: *clientcmd.NewDefaultClientConfigLoadingRules()}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	clientcmd.BindOverrideFlags(&d.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	args := []string{"--server=https://user:secret@10.0.0.1", "--as=viewer", "--as-uid=1", "--as-group=a b", "--as-group=c", "--token=secret"}
	for _, set := range []*pflag.FlagSet{flags, c.Flags()} {
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
	}
	client, _, err := d.client(c)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := client.Kubectl, "kubectl --server=https://user:xxxxx@10.0.0.1 --as=viewer --as-uid=1 '--as-group=a b' --as-group=c"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if got, want := client.Administrator, "kubectl --server=https://user:xxxxx@10.0.0.1"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
