// Command kubectl-podfqdn is a plugin of kubectl: `kubectl podfqdn doctor POD`
// says from a laptop why a Pod has no name in DNS, with the user's own rights.
// It prints what the API knows, what podfqdn doctor in the Pod sees on the wire,
// and then the causes, each with the field to change and the command that does it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/podfqdn/podfqdn/identity/kube"
	"github.com/podfqdn/podfqdn/identity/shown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes are a public interface; podfqdn doctor has the same.
const (
	exitHealthy     = 0
	exitUnexpected  = 1
	exitUsage       = 10 // the command line, the kubeconfig, a right without which nothing can be said
	exitUnhealthy   = 11
	exitInterrupted = 130
)

// run runs the program with the given arguments and streams until it ends or ctx
// does, and returns the exit code. Of the environment it uses what kubectl does:
// KUBECONFIG, HOME and the proxies.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	klog.SetLogger(logr.Discard()) // client-go also logs the errors that it returns,
	log.SetOutput(io.Discard)      // and net/http what it cannot parse
	code := exitHealthy
	root := command(stdout, &code)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return code
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "kubectl podfqdn: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "kubectl podfqdn: %s\n", shown.Printable(err.Error()))
	return exitCode(err)
}

// usageError is a mistake in the command line or the kubeconfig.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode returns the exit code for what ended the command.
func exitCode(err error) int {
	var (
		usage     usageError
		notFound  *kube.NotFound
		forbidden *kube.Forbidden
	)
	if errors.As(err, &usage) || errors.As(err, &notFound) || errors.As(err, &forbidden) ||
		clientcmd.IsConfigurationInvalid(err) || apierrors.IsUnauthorized(err) {
		return exitUsage
	}
	return exitUnexpected
}
