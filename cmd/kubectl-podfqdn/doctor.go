package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	// The kubeconfigs that name an auth-provider.
	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"github.com/podfqdn/podfqdn/cmd/internal/build"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/kube"
)

// command returns the whole command line. It sets *code, the exit code of a run
// without an error.
func command(stdout io.Writer, code *int) *cobra.Command {
	var asked bool
	root := &cobra.Command{
		Use:           "kubectl-podfqdn",
		Short:         "A Pod's name in DNS, and why it is missing",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(_ *cobra.Command, args []string) error { return unknown(args) },
		RunE: func(c *cobra.Command, _ []string) error {
			if asked {
				return version(stdout)
			}
			_ = c.Help()
			return usageError{errors.New("a command is missing: use doctor or version")}
		},
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl podfqdn"},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	// Cobra's own flag would take -v too, which is kubectl's for its log, and its template
	// links text/template, with which the linker keeps every exported method: 3.7 MB.
	root.Flags().BoolVar(&asked, "version", false, "print the version, the commit and the Go that built it")
	root.AddCommand(doctorCommand(stdout, code), versionCommand(stdout))
	return root
}

func unknown(args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %+q: use doctor or version", args[0])}
	}
	return nil
}

// versionCommand prints what the flag --version does.
func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		DisableFlagsInUseLine: true,
		Short:                 "Print the version, the commit and the Go that built it",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("version takes no argument, got %+q", args[0])}
			}
			return version(stdout)
		},
	}
}

func version(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, build.Line("kubectl podfqdn"))
	return err
}

// doctor holds the flags of the command doctor.
type doctor struct {
	rules     clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	selector  string
	all       bool
	container string
	output    string
	noExec    bool
}

func doctorCommand(stdout io.Writer, code *int) *cobra.Command {
	d := doctor{rules: *clientcmd.NewDefaultClientConfigLoadingRules()}
	c := &cobra.Command{
		Use:                   "doctor POD | statefulset/NAME | deployment/NAME | -l SELECTOR | -A",
		DisableFlagsInUseLine: true,
		Short:                 "Say why a Pod has no name in DNS, and what to change",
		Long: `Say why a Pod has no name in DNS, and what to change.

It reads the Pod, its owner, the Services, EndpointSlices and NetworkPolicies of
its namespace, and the Deployment and Corefile of cluster DNS. It also reads the
events of a Pod that has not started, and the Services that podfqdn wait waits
for. It runs podfqdn doctor in each running podfqdn container of the Pod, unless
--no-exec is given. It changes nothing. With -l or -A, or for a StatefulSet or a
Deployment, it prints a table of the Pods that use podfqdn.

Exit codes: 0 healthy, 11 not healthy, 10 bad usage or nothing to examine,
1 unexpected.`,
		Example: `  kubectl podfqdn doctor db-0
  kubectl podfqdn doctor -n prod db-0 -o json
  kubectl podfqdn doctor -A`,
		RunE: func(c *cobra.Command, args []string) error {
			healthy, err := d.run(c.Context(), c, args, stdout)
			if err == nil && !healthy {
				*code = exitUnhealthy
			}
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&d.rules.ExplicitPath, "kubeconfig", "", "Path to the kubeconfig file")
	clientcmd.BindOverrideFlags(&d.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	flags.StringVarP(&d.selector, "selector", "l", "", "print a table of the Pods with these labels")
	flags.BoolVarP(&d.all, "all-namespaces", "A", false, "print a table of the Pods in all namespaces")
	flags.StringVarP(&d.container, "container", "c", "", "podfqdn's container, if it is not recognised, or to examine only that one")
	flags.StringVarP(&d.output, "output", "o", "", "json or yaml")
	flags.BoolVar(&d.noExec, "no-exec", false, "run nothing in the Pod: only the API is read")
	return c
}

// kinds maps kubectl's words for Pods and for what owns them to resources.
var kinds = map[string]string{
	"pod": "pods", "pods": "pods", "po": "pods",
	"statefulset": "statefulsets", "statefulsets": "statefulsets", "sts": "statefulsets", "statefulset.apps": "statefulsets", "statefulsets.apps": "statefulsets",
	"deployment": "deployments", "deployments": "deployments", "deploy": "deployments", "deployment.apps": "deployments", "deployments.apps": "deployments",
}

func (d *doctor) run(ctx context.Context, c *cobra.Command, args []string, stdout io.Writer) (healthy bool, err error) {
	table := d.selector != "" || d.all
	var owner string // the resource that has the Pods
	if len(args) > 0 {
		kind, name, slash := strings.Cut(args[0], "/")
		resource, known := kinds[strings.ToLower(kind)]
		switch {
		case slash && !known:
			return false, usageError{fmt.Errorf("%+q is not a Pod: use kubectl podfqdn doctor POD, or statefulset/NAME, deployment/NAME, -l SELECTOR, -A", args[0])}
		case slash:
			args = append([]string{name}, args[1:]...)
			owner = resource
			if name == "" || strings.Contains(name, "/") {
				return false, usageError{fmt.Errorf("want %s/NAME, got %q", kind, kind+"/"+name)}
			}
		case known && len(args) == 2: // as kubectl takes it
			args = args[1:]
			owner = resource
		}
	}
	if owner == "pods" {
		owner = ""
	}
	switch {
	case d.container != "" && (table || owner != ""):
		return false, usageError{errors.New("--container needs one Pod: name the Pod")}
	case !slices.Contains([]string{"", "json", "yaml"}, d.output):
		return false, usageError{fmt.Errorf("--output=%+q: must be json, yaml", d.output)}
	case table && len(args) > 0:
		return false, usageError{fmt.Errorf("got a Pod, %+q, and --selector or --all-namespaces: use one or the other", args[0])}
	case !table && len(args) != 1:
		return false, usageError{fmt.Errorf("want one Pod, got %d: kubectl podfqdn doctor POD, or -l SELECTOR, or -A", len(args))}
	}
	if _, err := labels.Parse(d.selector); err != nil {
		return false, usageError{fmt.Errorf("--selector=%+q: %w", d.selector, err)}
	}
	client, namespace, err := d.client(c)
	if err != nil {
		return false, err
	}
	if owner != "" {
		if d.selector, err = client.SelectorOf(ctx, namespace, owner, args[0]); err != nil {
			return false, granted(ctx, client, err)
		}
		table = true
	}
	if table {
		if d.all {
			namespace = ""
		}
		uses, err := client.Uses(ctx, namespace, d.selector)
		if err != nil {
			return false, granted(ctx, client, err)
		}
		if len(uses) == 0 && owner != "" {
			return false, usageError{fmt.Errorf("no Pod of %s %+q uses podfqdn", strings.TrimSuffix(owner, "s"), args[0])}
		}
		if len(uses) == 0 {
			return false, usageError{errors.New("no Pod here uses podfqdn: see --namespace and --selector, or use -A")}
		}
		healthy = !slices.ContainsFunc(uses, func(u kube.Use) bool { return !u.Healthy })
		return healthy, d.print(stdout, list{Schema: schema, Healthy: healthy, Pods: uses, kubectl: client.Kubectl})
	}
	report, err := examine(ctx, client, namespace, args[0], d.container)
	if err != nil {
		return false, granted(ctx, client, err)
	}
	return report.Healthy, d.print(stdout, report)
}

// client returns a Client of the cluster that kubectl would reach with the same
// flags, and the namespace.
func (d *doctor) client(c *cobra.Command) (*kube.Client, string, error) {
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&d.rules, &d.overrides)
	reach, err := config.ClientConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			err = errors.New("there is no kubeconfig: set KUBECONFIG, or use --kubeconfig")
			if raw, unread := config.RawConfig(); unread == nil && len(raw.Contexts) > 0 {
				err = errors.New("the kubeconfig lacks the cluster that its context names: choose another with --context or --cluster")
			}
		}
		return nil, "", usageError{err}
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", usageError{err}
	}
	reach.UserAgent = rest.DefaultKubernetesUserAgent()
	client, err := kube.New(reach)
	if err != nil {
		return nil, "", usageError{err}
	}
	client.Kubectl = "kubectl"
	client.Administrator = "kubectl"
	client.NoExec = d.noExec
	for _, flag := range []string{"kubeconfig", "context", "cluster", "server", "user", "as", "as-uid", "as-group"} {
		f := c.Flags().Lookup(flag)
		if f == nil || !f.Changed {
			continue
		}
		if groups, ok := f.Value.(pflag.SliceValue); ok {
			for _, group := range groups.GetSlice() {
				client.Kubectl += " " + kube.Quote("--"+flag+"="+group)
			}
			continue
		}
		value := f.Value.String()
		if u, err := url.Parse(value); err == nil && u.User != nil {
			value = u.Redacted()
		}
		word := " " + kube.Quote("--"+flag+"="+value)
		client.Kubectl += word
		if !slices.Contains([]string{"user", "as", "as-uid"}, flag) { // the administrator is another user
			client.Administrator += word
		}
	}
	return client, namespace, nil
}

// granted adds to an error about a missing right the commands that grant it.
func granted(ctx context.Context, client *kube.Client, err error) error {
	var forbidden *kube.Forbidden
	if !errors.As(err, &forbidden) {
		return err
	}
	return fmt.Errorf("%w; an administrator grants it by: %s", err, strings.Join(client.Grant(ctx, []kube.Right{forbidden.Right}), " && "))
}

// schema is the version of what -o prints.
const schema = 1

// report is printed for one Pod; with -o it is a public interface.
type report struct {
	Schema  int  `json:"schema"`
	Healthy bool `json:"healthy"`
	kube.Use
	Facts   []diagnosis.Seen     `json:"facts"`
	Wire    *diagnosis.Diagnosis `json:"wire,omitempty"`   // what podfqdn doctor says in the Pod
	NoWire  string               `json:"noWire,omitempty"` // why there is none
	Causes  []diagnosis.Cause    `json:"causes,omitempty"` // the most likely first
	Lacks   []kube.Right         `json:"lacks,omitempty"`  // rights that would have shown more
	Grant   []string             `json:"grant,omitempty"`  // the commands that grant them
	Trouble []string             `json:"trouble,omitempty"`
	// Others are podfqdn's other containers and what the doctor says there.
	Others    []other          `json:"others,omitempty"`
	Unchecked []string         `json:"unchecked,omitempty"` // what was not looked at
	Ahead     []string         `json:"ahead,omitempty"`     // what the API shows and DNS does not show yet
	Warnings  []string         `json:"warnings,omitempty"`  // what is wrong although DNS agrees
	Changes   []diagnosis.Seen `json:"changes,omitempty"`   // what changed last: the object, the time, and by whom
	RuledOut  []string         `json:"ruledOut,omitempty"`  // what was looked at and is as it should be
	IfNothing string           `json:"ifNothing,omitempty"` // what happens if nothing is done
	IfDeleted string           `json:"ifDeleted,omitempty"` // whether deleting the Pod helps
	Undo      []string         `json:"undo,omitempty"`      // what undoes each command of causes
}

// other is one of podfqdn's containers next to the one that is worst off.
type other struct {
	Container string               `json:"container"`
	Wire      *diagnosis.Diagnosis `json:"wire,omitempty"`
	NoWire    string               `json:"noWire,omitempty"`
}

// list is printed for many Pods; with -o it is a public interface.
type list struct {
	Schema  int        `json:"schema"`
	Healthy bool       `json:"healthy"`
	Pods    []kube.Use `json:"pods"`

	kubectl string // how a command for the same cluster begins
}

// examine reads what the API and the doctor in each of podfqdn's containers say
// of one Pod.
func examine(ctx context.Context, client *kube.Client, namespace, pod, container string) (report, error) {
	view, err := client.See(ctx, namespace, pod, container)
	if err != nil {
		return report{}, err
	}
	r := report{Schema: schema, Lacks: view.Lacks, Trouble: view.Trouble}
	each := view.Each()
	wires, noWires := map[*kube.View]*diagnosis.Diagnosis{}, map[*kube.View]string{}
	for _, v := range each {
		wire, err := client.Exec(ctx, v)
		var (
			forbidden *kube.Forbidden
			noWire    *kube.NoWire
		)
		switch {
		case err == nil:
			wires[v] = wire
			v.Hear(wire)
		case errors.As(err, &forbidden):
			noWires[v] = forbidden.Error()
			if !slices.Contains(r.Lacks, forbidden.Right) {
				r.Lacks = append(r.Lacks, forbidden.Right)
			}
		case errors.As(err, &noWire):
			noWires[v] = noWire.Error()
		default:
			return report{}, err
		}
	}
	kube.Rank(each)
	r.Use, r.Facts, r.Wire, r.NoWire = each[0].Use, each[0].Facts(), wires[each[0]], noWires[each[0]]
	for _, v := range each[1:] {
		r.Others = append(r.Others, other{v.Container, wires[v], noWires[v]})
	}
	for i, v := range each {
		wire := wires[v]
		if wire == nil { // another container asks for the same name over the same path
			if same := slices.IndexFunc(each, func(o *kube.View) bool { return v.SameName(o) && wires[o] != nil }); same >= 0 {
				wire = wires[each[same]]
			}
		}
		for n, cause := range v.Causes(wire) {
			if slices.ContainsFunc(r.Causes, func(c diagnosis.Cause) bool { return c.Kind == cause.Kind && c.Why == cause.Why }) {
				continue
			}
			r.Causes = append(r.Causes, cause)
			if undo := v.Undo(wire, n); undo != "" {
				r.Undo = append(r.Undo, fmt.Sprintf("%d. %s", len(r.Causes), undo))
			}
		}
		for _, line := range v.Warnings() {
			if !slices.Contains(r.Warnings, line) {
				r.Warnings = append(r.Warnings, line)
			}
		}
		for _, line := range v.Ahead(wire) {
			if !slices.Contains(r.Ahead, line) {
				r.Ahead = append(r.Ahead, line)
			}
		}
		if i == 0 {
			r.Unchecked = v.Unchecked(wire, r.NoWire)
		}
	}
	r.Healthy = len(r.Causes) == 0
	r.Changes = view.Changes()
	if slices.ContainsFunc(r.Causes, func(c diagnosis.Cause) bool {
		return c.Kind == diagnosis.Misconfigured && strings.Contains(c.Why, "PODFQDN_PEERS")
	}) {
		r.Warnings = nil // it is said already
	}
	if !r.Healthy {
		r.RuledOut = each[0].RuledOut(r.Causes)
		r.IfNothing, r.IfDeleted = each[0].Prospects(r.Causes)
	}
	if len(r.Lacks) > 0 {
		r.Grant = client.Grant(ctx, r.Lacks)
	}
	return r, nil
}

// printer is what can be printed as text.
type printer interface{ text(io.Writer) }

func (d *doctor) print(w io.Writer, p printer) error {
	if d.output == "" {
		p.text(w)
		return nil
	}
	form := diagnosis.JSON
	if d.output == "yaml" {
		form = diagnosis.YAML
	}
	out, err := form(p)
	if err != nil {
		return err
	}
	if d.output == "yaml" {
		text, err := yaml.JSONToYAML(out)
		if err != nil {
			return err
		}
		// YAML's block style does not escape a character such as U+202E.
		if !bytes.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
			out = text
		}
	}
	_, err = w.Write(out)
	return err
}
