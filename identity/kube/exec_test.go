package kube

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAContainerThatAnswersWithoutEndIsStopped(t *testing.T) {
	t.Parallel()
	ctx, full := context.WithCancelCause(t.Context())
	b := bounded{full: full}
	n, err := io.Copy(&b, strings.NewReader(strings.Repeat("x", maxOutput)))
	if n != maxOutput || err != nil || ctx.Err() != nil || len(b.taken) != maxOutput {
		t.Errorf("%d bytes: %v", n, err)
	}
	// As client-go copies it.
	if _, err := io.Copy(&b, io.LimitReader(endless{}, 1<<20)); err == nil || len(b.taken) > maxOutput || context.Cause(ctx) != err {
		t.Errorf("%d bytes: %v, and the context: %v", len(b.taken), err, context.Cause(ctx))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

func TestAReportIsWholeOrNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, stdout, stderr string
		code                 int
		want                 string // "" if it is one
	}{
		{"healthy", `{"schema": 1, "healthy": true}`, "", 0, ""},
		{"not healthy", `{"schema": 1, "reason": "no"}`, "", 11, ""},
		{"not healthy, without an exit code", `{"schema": 1, "reason": "no"}`, "", 0, ""},
		{"healthy, and it failed", `{"schema": 1, "healthy": true}`, "", 11, "reports that all is well, but exits with code 11"},
		{"newer", `{"schema": 2, "healthy": true}`, "", 0, "has a newer doctor, with schema 2, but this plugin knows only 1: update the plugin"},
		{"no schema", `{"healthy": true}`, "", 0, `has no doctor (exit code 0): {"healthy": true}`},
		{"below", `{"schema": -1, "healthy": true}`, "", 0, `has no doctor (exit code 0): {"schema": -1, "healthy": true}`},
		{"half", `{"schema": 1, "heal`, "", 0, "was cut off after 19 bytes of its answer"},
		{"garbage", "x", "", 2, "has no doctor (exit code 2): x"},
		{"two", `{"schema": 1}{"schema": 1}`, "", 0, `has no doctor (exit code 0): {"schema": 1}{"schema": 1}`},
		{"another type", `{"schema": "1"}`, "", 0, `has no doctor (exit code 0): {"schema": "1"}`},
		{"nothing", "", "", 137, "has no doctor (exit code 137): "},
		{"an old podfqdn", "", "podfqdn: no command \"doctor\"\nusage\n", 10, `has no doctor (exit code 10): podfqdn: no command "doctor"`},
		{"much", strings.Repeat("x", 1<<20), "", 1, "has no doctor (exit code 1): " + strings.Repeat("x", 1<<10)},
	} {
		d, err := report([]byte(c.stdout), []byte(c.stderr), c.code)
		if (err == nil) != (c.want == "") || (d == nil) != (err != nil) || err != nil && err.Error() != c.want {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
}

func TestAContainerThatIsNotRecognisedIsToBeNamed(t *testing.T) {
	t.Parallel()
	var noWire *NoWire
	if _, err := (&Client{}).Exec(t.Context(), &View{}); !errors.As(err, &noWire) || !strings.Contains(err.Error(), "recognised as podfqdn's; name it with --container") {
		t.Error(err)
	}
}

func TestWithNoExecNothingIsRunInThePod(t *testing.T) {
	t.Parallel()
	var noWire *NoWire
	// This client has no connection, and would panic.
	v := &View{Use: Use{Container: "podfqdn"}}
	if _, err := (&Client{NoExec: true}).Exec(t.Context(), v); !errors.As(err, &noWire) || err.Error() != "with --no-exec podfqdn doctor is not run in the Pod" {
		t.Error(err)
	}
}
