package kube

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// execPatience is the time limit of the doctor in the Pod: it asks every nameserver
// several questions, and each may be silent.
const execPatience = 90 * time.Second

// maxOutput is the largest output that is read from a container, in bytes.
const maxOutput = 4 << 20

// NoWire is the error that says why podfqdn in the Pod could not ask DNS. It says
// nothing about the Pod's name.
type NoWire struct{ why string }

func (n *NoWire) Error() string { return n.why }

// Exec runs podfqdn doctor in v's container, which asks the Pod's DNS servers over
// the Pod's own path, and returns what it found. The error is a *NoWire if the doctor
// cannot be run, a *Forbidden, or the context's.
func (c *Client) Exec(parent context.Context, v *View) (*diagnosis.Diagnosis, error) {
	if c.NoExec {
		return nil, &NoWire{"with --no-exec podfqdn doctor is not run in the Pod"}
	}
	if v.Container == "" {
		return nil, &NoWire{"no container of the Pod is recognised as podfqdn's; name it with --container"}
	}
	if v.podfqdn.waits() {
		return nil, &NoWire{fmt.Sprintf("container %+q runs podfqdn wait, which asks for names other than the Pod's; its log shows what DNS says", v.Container)}
	}
	if v.podfqdn.status.State.Running == nil {
		return nil, &NoWire{fmt.Sprintf("container %+q is not running, so nothing there can ask DNS", v.Container)}
	}
	right := Right{Verb: "create", Resource: "pods/exec", Namespace: v.Namespace}
	ctx, cancel := context.WithTimeoutCause(parent, execPatience, fmt.Errorf("podfqdn doctor in the Pod did not finish within %s", execPatience))
	defer cancel()
	ctx, full := context.WithCancelCause(ctx)
	defer full(nil)
	request := c.groups[""].Post().Namespace(v.Namespace).Resource("pods").Name(v.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: v.Container, Command: []string{v.podfqdn.binary(), "doctor", "-o", "json"}, Stdout: true, Stderr: true,
		}, parameters)
	// As kubectl does it: a proxy may know only one of the two ways.
	socket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	older, err := remotecommand.NewSPDYExecutorRejectRedirects(transport, upgrader, "POST", request.URL())
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	stdout, stderr := bounded{full: full}, bounded{full: full}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	var exit utilexec.CodeExitError
	switch {
	case parent.Err() != nil:
		return nil, context.Cause(parent)
	case ctx.Err() != nil:
		return nil, &NoWire{context.Cause(ctx).Error()}
	case err == nil || errors.As(err, &exit):
	case c.denied(ctx, right, v.Pod):
		return nil, &Forbidden{right, err}
	default: // it may have ended just now
		return nil, &NoWire{fmt.Sprintf("podfqdn doctor could not be run in container %+q: %v", v.Container, err)}
	}
	d, err := report(stdout.taken, stderr.taken, exit.Code)
	if err != nil {
		return nil, &NoWire{fmt.Sprintf("podfqdn in container %+q %v", v.Container, err)}
	}
	return d, nil
}

// report parses the output of podfqdn doctor, with its exit code. The error
// completes a sentence that begins with the container.
func report(stdout, stderr []byte, code int) (*diagnosis.Diagnosis, error) {
	d := &diagnosis.Diagnosis{}
	switch err := json.Unmarshal(stdout, d); {
	case err == nil && d.Schema > 1:
		return nil, fmt.Errorf("has a newer doctor, with schema %d, but this plugin knows only 1: update the plugin", d.Schema)
	case err == nil && d.Schema == 1 && d.Healthy && code != 0:
		return nil, fmt.Errorf("reports that all is well, but exits with code %d", code)
	case err == nil && d.Schema == 1:
		return d, nil
	case json.NewDecoder(bytes.NewReader(stdout)).Decode(&json.RawMessage{}) == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("was cut off after %d bytes of its answer", len(stdout))
	}
	said, _, _ := strings.Cut(strings.TrimSpace(cmp.Or(string(stderr), string(stdout))), "\n")
	return nil, fmt.Errorf("has no doctor (exit code %d): %s", code, said[:min(len(said), maxSaid)])
}

// maxSaid is how many bytes of an output that is not a report are shown.
const maxSaid = 1 << 10

// denied asks the API server whether a right is missing: a refused stream says so
// only in prose.
func (c *Client) denied(ctx context.Context, right Right, name string) bool {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	resource, subresource, _ := strings.Cut(right.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: right.Namespace, Verb: right.Verb, Group: right.Group, Resource: resource, Subresource: subresource, Name: name,
		},
	}}
	err := answer(c.groups[authorizationv1.GroupName].Post().Resource("selfsubjectaccessreviews").Body(review).Do(ctx), review)
	return err == nil && !review.Status.Allowed
}

// bounded is a buffer that accepts at most maxOutput bytes and then cancels, because
// io.Copy would otherwise keep reading. It does not embed a bytes.Buffer: io.Copy
// would call its ReadFrom instead of Write.
type bounded struct {
	taken []byte
	full  context.CancelCauseFunc
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.taken)+len(p) > maxOutput {
		err := fmt.Errorf("podfqdn doctor in the Pod prints more than %d MiB", maxOutput>>20)
		b.full(err)
		return 0, err
	}
	b.taken = append(b.taken, p...)
	return len(p), nil
}
