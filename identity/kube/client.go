package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// patience is the default time limit of one request to the API server.
const patience = 15 * time.Second

// maxAnswer is the largest answer to one request, in bytes: enough for the
// EndpointSlices of 200,000 endpoints.
const maxAnswer = 64 << 20

// Client asks an API server. It uses only package rest of client-go: the typed
// clients of all groups would double the size of the program.
type Client struct {
	config   *rest.Config
	groups   map[string]*rest.RESTClient
	patience time.Duration
	// Kubectl begins each command for the user, with the flags that lead to the
	// same cluster: "kubectl --context prod".
	Kubectl string
	// Administrator begins each command for an administrator: it leads to the
	// same cluster, but as another user.
	Administrator string
	// NoExec makes Exec run nothing in the Pod and return a *NoWire.
	NoExec bool
}

var (
	scheme     = runtime.NewScheme()
	codecs     = serializer.NewCodecFactory(scheme)
	parameters = runtime.NewParameterCodec(scheme)
	versions   = []schema.GroupVersion{
		corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion,
		networkingv1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion,
	}
)

func init() {
	add := runtime.NewSchemeBuilder(corev1.AddToScheme, appsv1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme,
		authenticationv1.AddToScheme, authorizationv1.AddToScheme)
	if err := add.AddToScheme(scheme); err != nil {
		panic(err) // a type registered twice
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
}

// New returns a Client that waits up to config.Timeout for each answer, or 15 s if
// that is 0. It returns an error if config is wrong.
func New(config *rest.Config) (*Client, error) {
	c := &Client{config: rest.CopyConfig(config), groups: map[string]*rest.RESTClient{}, patience: cmp.Or(config.Timeout, patience), Kubectl: "kubectl", Administrator: "kubectl"}
	c.config.NegotiatedSerializer = codecs.WithoutConversion()
	c.config.Timeout = 0 // patience says why
	c.config.WarningHandler = rest.NoWarnings{}
	transport, err := rest.TransportFor(c.config)
	if err != nil {
		return nil, err
	}
	transport = bounding{transport}
	client := &http.Client{Transport: transport, CheckRedirect: stay}
	for _, version := range versions {
		of := rest.CopyConfig(c.config)
		of.GroupVersion, of.APIPath = &version, "/apis"
		if version.Group == "" {
			of.APIPath = "/api"
		}
		if c.groups[version.Group], err = rest.RESTClientForConfigAndClient(of, client); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// bounding cuts off an answer that is longer than maxAnswer, because client-go
// reads the whole answer before it looks at it.
type bounding struct{ http.RoundTripper }

func (b bounding) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

// redirect is the error for an answer that redirects. No API server sends one.
type redirect struct{ to string }

func (r *redirect) Error() string {
	return fmt.Sprintf("the API server redirects to %+q, so the token is not sent: set the right server in the kubeconfig", r.to)
}

// stay refuses every redirect: the token would go there too, perhaps without TLS.
func stay(r *http.Request, _ []*http.Request) error { return &redirect{r.URL.Redacted()} }

// Right is something that a user must be allowed to do: one rule of a Role.
type Right struct {
	Verb      string `json:"verb"`
	Group     string `json:"apiGroup"` // "" for the core
	Resource  string `json:"resource"` // with its subresource: "pods/exec"
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"` // of one object; "" for all
}

// String returns it as `list endpointslices in API group "discovery.k8s.io", namespace "db"`.
func (r Right) String() string {
	s := fmt.Sprintf("%s %s in API group %+q", r.Verb, r.Resource, r.Group)
	if r.Namespace == "" {
		return s + ", all namespaces"
	}
	return s + fmt.Sprintf(", namespace %+q", r.Namespace)
}

// Forbidden is the error for a right that the user does not have.
type Forbidden struct {
	Right
	Err error // the API server's
}

func (f *Forbidden) Error() string { return fmt.Sprintf("you are not allowed to %s", f.Right) }

func (f *Forbidden) Unwrap() error { return f.Err }

// patient bounds one request.
func (c *Client) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("the API server does not answer within %s", c.patience))
}

// unserved is the error for a resource that the API server does not serve, as
// opposed to an empty list.
type unserved struct{ error }

// read makes the request that right names and stores the answer in into. selector
// narrows a list: by labels, or by fields for events. The error is a *Forbidden, or
// the API server's, or the network's.
func (c *Client) read(ctx context.Context, right Right, selector string, into runtime.Object) error {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	request := c.groups[right.Group].Get().Resource(right.Resource)
	if right.Namespace != "" {
		request.Namespace(right.Namespace)
	}
	if right.Verb == "get" {
		request.Name(right.Name)
	} else if selector != "" {
		options := &metav1.ListOptions{LabelSelector: selector}
		if right.Resource == "events" { // they have no labels
			options = &metav1.ListOptions{FieldSelector: selector}
		}
		request.VersionedParams(options, parameters)
	}
	err := answer(request.Do(ctx), into)
	if got, ok := into.(metav1.Object); err == nil && ok && got.GetName() != right.Name {
		err = fmt.Errorf("it returned %s %+q instead of %+q", kind(into), got.GetName(), right.Name)
	}
	return failed(ctx, right, err)
}

// answer stores the answer to a request in object. It returns an error for an answer
// of another kind or of none: client-go would leave the object empty, as if nothing
// were there.
func answer(result rest.Result, object runtime.Object) error {
	got, err := result.Get()
	switch {
	case runtime.IsMissingKind(err):
		return errors.New("its answer is not a Kubernetes object")
	case err != nil:
		return err
	case reflect.TypeOf(got) != reflect.TypeOf(object):
		return fmt.Errorf("it returned %s instead of %s", kind(got), kind(object))
	}
	reflect.ValueOf(object).Elem().Set(reflect.ValueOf(got).Elem())
	return nil
}

func kind(object runtime.Object) string { return "a " + reflect.TypeOf(object).Elem().Name() }

// failed returns the error of a request; a *Forbidden for a missing right.
func failed(ctx context.Context, right Right, err error) error {
	var away *redirect
	foreign := apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) // not in the form that an API server uses
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		// client-go has the last reason only as text.
		if _, last, ok := strings.Cut(err.Error(), " - error from a previous attempt: "); ok {
			return fmt.Errorf("%w: %s", context.Cause(ctx), last)
		}
		return context.Cause(ctx)
	case errors.As(err, &away):
		return away
	case errors.As(err, new(*http.MaxBytesError)):
		return fmt.Errorf("ask the API server to %s: the answer exceeds %d MiB", right, maxAnswer>>20)
	case right.Verb == "list" && apierrors.IsNotFound(err):
		return unserved{fmt.Errorf("asked to %s, the API server does not serve that: %w", right, err)}
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server does not accept your credentials: %w; log in again, or choose another user with --context or --user", err)
	case foreign && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)):
		return fmt.Errorf("ask the API server: %v: that does not look like a Kubernetes API server: set the right server in the kubeconfig", err)
	case apierrors.IsForbidden(err):
		return &Forbidden{right, err}
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		return fmt.Errorf("ask the API server: %w", err)
	}
	return fmt.Errorf("asked to %s, the API server says: %w", right, err)
}

// NotFound is the error for a namespace or an object that does not exist.
type NotFound struct{ what string }

func (n *NotFound) Error() string { return n.what }

// absent returns the *NotFound for a missing Pod, or for its namespace if that is
// missing too.
func (c *Client) absent(ctx context.Context, namespace, pod string) error {
	err := c.read(ctx, Right{Verb: "get", Resource: "namespaces", Name: namespace}, "", &corev1.Namespace{})
	if apierrors.IsNotFound(err) {
		return &NotFound{fmt.Sprintf("there is no namespace %+q: choose another with --namespace", namespace)}
	}
	return &NotFound{fmt.Sprintf("there is no Pod %+q in namespace %+q: see `%s get pods`, or choose another namespace with --namespace", pod, namespace, in(c.Kubectl, namespace))}
}

// SelectorOf returns the label selector of a StatefulSet's or a Deployment's Pods.
// resource is "statefulsets" or "deployments". The error is a *NotFound, a
// *Forbidden, or the API server's or the network's.
func (c *Client) SelectorOf(ctx context.Context, namespace, resource, name string) (string, error) {
	var (
		selector *metav1.LabelSelector
		get      = Right{Verb: "get", Group: appsv1.GroupName, Resource: resource, Namespace: namespace, Name: name}
		err      error
	)
	if resource == "statefulsets" {
		var set appsv1.StatefulSet
		err = c.read(ctx, get, "", &set)
		selector = set.Spec.Selector
	} else {
		var d appsv1.Deployment
		err = c.read(ctx, get, "", &d)
		selector = d.Spec.Selector
	}
	if apierrors.IsNotFound(err) {
		return "", &NotFound{fmt.Sprintf("there is no %s/%s in namespace %+q: see `%s get %s`, or choose another namespace with --namespace", resource, Quote(name), namespace, in(c.Kubectl, namespace), resource)}
	}
	if err != nil {
		return "", err
	}
	return metav1.FormatLabelSelector(selector), nil
}

// in returns how a command in a namespace begins.
func in(kubectl, namespace string) string { return kubectl + " --namespace " + Quote(namespace) }

// Grant returns the commands with which an administrator grants the user the rights,
// one per line.
func (c *Client) Grant(ctx context.Context, rights []Right) []string {
	var lines []string
	user := c.user(ctx)
	type where struct{ namespace, verb string }
	resources := map[where][]string{}
	for _, r := range rights {
		resource := strings.TrimSuffix(r.Resource+"."+r.Group, ".")
		w := where{r.Namespace, r.Verb}
		if !slices.Contains(resources[w], resource) {
			resources[w] = append(resources[w], resource)
		}
	}
	ordered := slices.SortedFunc(maps.Keys(resources), func(a, b where) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.verb, b.verb))
	})
	for _, w := range ordered {
		kubectl, role, name := c.Administrator, "clusterrole", "podfqdn-doctor-"+w.verb
		if w.namespace != "" {
			kubectl, role = in(c.Administrator, w.namespace), "role"
		}
		lines = append(lines,
			fmt.Sprintf("%s create %s %s --verb=%s --resource=%s", kubectl, role, name, w.verb, strings.Join(resources[w], ",")),
			fmt.Sprintf("%s create %sbinding %s --%s=%s %s", kubectl, role, name, role, name, user))
	}
	return lines
}

// user returns the flag with which kubectl binds a role to the current user.
func (c *Client) user(ctx context.Context) string {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	var review authenticationv1.SelfSubjectReview
	group := c.groups[authenticationv1.GroupName]
	err := answer(group.Post().Resource("selfsubjectreviews").Body(&authenticationv1.SelfSubjectReview{}).Do(ctx), &review)
	name := review.Status.UserInfo.Username
	if err != nil || name == "" {
		return "--user=YOU"
	}
	if account, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
		return Quote("--serviceaccount=" + account)
	}
	return Quote("--user=" + name)
}

// Quote returns s as one word of a shell.
func Quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:=,@%+", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
