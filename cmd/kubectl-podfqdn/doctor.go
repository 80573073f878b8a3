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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	// The kubeconfigs that name an auth-provider.
	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/kube"
)

// command returns the whole command line. code is what a good end exits with.
func command(stdout io.Writer, code *int) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-podfqdn",
		Short:         "A Pod's name in DNS, and why it is missing",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(_ *cobra.Command, args []string) error { return unknown(args) },
		RunE: func(c *cobra.Command, _ []string) error {
			_ = c.Help()
			return usageError{errors.New("a command is missing: doctor")}
		},
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl podfqdn"},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(doctorCommand(stdout, code))
	return root
}

func unknown(args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("no command %+q: use doctor", args[0])}
	}
	return nil
}

// doctor is what is asked for.
type doctor struct {
	rules     clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	selector  string
	all       bool
	output    string
}

func doctorCommand(stdout io.Writer, code *int) *cobra.Command {
	d := doctor{rules: *clientcmd.NewDefaultClientConfigLoadingRules()}
	c := &cobra.Command{
		Use:                   "doctor POD | -l SELECTOR | -A",
		DisableFlagsInUseLine: true,
		Short:                 "Say why a Pod has no name in DNS, and what to change",
		Long: `Say why a Pod has no name in DNS, and what to change.

It reads the Pod, its owner, the Services, EndpointSlices and NetworkPolicies of
its namespace, and the Deployment and Corefile of cluster DNS; it runs podfqdn
doctor in the Pod, where podfqdn runs; and it changes nothing. With -l or -A it
gives a table of the Pods that use podfqdn.

Exit codes: 0 healthy, 11 not, 10 bad usage or nothing to look at, 1 unexpected.`,
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
	flags.StringVarP(&d.selector, "selector", "l", "", "a table of the Pods with these labels")
	flags.BoolVarP(&d.all, "all-namespaces", "A", false, "a table of the Pods of all namespaces")
	flags.StringVarP(&d.output, "output", "o", "", "json or yaml")
	return c
}

func (d *doctor) run(ctx context.Context, c *cobra.Command, args []string, stdout io.Writer) (healthy bool, err error) {
	table := d.selector != "" || d.all
	switch {
	case !slices.Contains([]string{"", "json", "yaml"}, d.output):
		return false, usageError{fmt.Errorf("--output=%+q: must be json, yaml", d.output)}
	case table && len(args) > 0:
		return false, usageError{fmt.Errorf("a Pod, %+q, and --selector or --all-namespaces: use one or the other", args[0])}
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
	if table {
		if d.all {
			namespace = ""
		}
		uses, err := client.Uses(ctx, namespace, d.selector)
		if err != nil {
			return false, granted(ctx, client, err)
		}
		if len(uses) == 0 {
			return false, usageError{errors.New("no Pod here uses podfqdn: see --namespace and --selector, or use -A")}
		}
		healthy = !slices.ContainsFunc(uses, func(u kube.Use) bool { return !u.Healthy })
		return healthy, d.print(stdout, list{Schema: 1, Healthy: healthy, Pods: uses})
	}
	report, err := examine(ctx, client, namespace, strings.TrimPrefix(args[0], "pod/"))
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
				err = errors.New("the kubeconfig lacks the cluster that its context names: name another by --context or --cluster")
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
	for _, flag := range []string{"kubeconfig", "context", "cluster", "user", "server", "as"} {
		f := c.Flags().Lookup(flag)
		if f == nil || !f.Changed {
			continue
		}
		value := f.Value.String()
		if u, err := url.Parse(value); err == nil && u.User != nil {
			value = u.Redacted()
		}
		client.Kubectl += " " + kube.Quote("--"+flag+"="+value)
	}
	return client, namespace, nil
}

// granted adds to a missing right the commands that grant it.
func granted(ctx context.Context, client *kube.Client, err error) error {
	var forbidden *kube.Forbidden
	if !errors.As(err, &forbidden) {
		return err
	}
	return fmt.Errorf("%w; an administrator grants it by: %s", err, strings.Join(client.Grant(ctx, []kube.Right{forbidden.Right}), " && "))
}

// report is what is printed of one Pod; it is a public interface with -o.
type report struct {
	Schema  int  `json:"schema"` // 1
	Healthy bool `json:"healthy"`
	kube.Use
	Facts   []diagnosis.Seen     `json:"facts"`
	Wire    *diagnosis.Diagnosis `json:"wire,omitempty"`   // what podfqdn doctor says in the Pod
	NoWire  string               `json:"noWire,omitempty"` // why there is none
	Causes  []diagnosis.Cause    `json:"causes,omitempty"` // the most likely first
	Lacks   []kube.Right         `json:"lacks,omitempty"`  // rights that would have shown more
	Grant   []string             `json:"grant,omitempty"`  // the commands that grant them
	Trouble []string             `json:"trouble,omitempty"`
}

// list is what is printed of many.
type list struct {
	Schema  int        `json:"schema"` // 1
	Healthy bool       `json:"healthy"`
	Pods    []kube.Use `json:"pods"`
}

// examine reads what the API and the Pod's doctor say of one Pod.
func examine(ctx context.Context, client *kube.Client, namespace, pod string) (report, error) {
	view, err := client.See(ctx, namespace, pod)
	if err != nil {
		return report{}, err
	}
	r := report{Schema: 1, Use: view.Use, Facts: view.Facts(), Lacks: view.Lacks, Trouble: view.Trouble}
	wire, err := client.Exec(ctx, view)
	var (
		forbidden *kube.Forbidden
		noWire    *kube.NoWire
	)
	switch {
	case err == nil:
		r.Wire = wire
	case errors.As(err, &forbidden):
		r.NoWire = forbidden.Error()
		r.Lacks = append(r.Lacks, forbidden.Right)
	case errors.As(err, &noWire):
		r.NoWire = noWire.Error()
	default:
		return report{}, err
	}
	r.Causes = view.Causes(r.Wire)
	r.Healthy = len(r.Causes) == 0
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
		// The block style leaves to the terminal what is no control character.
		if !bytes.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
			out = text
		}
	}
	_, err = w.Write(out)
	return err
}
