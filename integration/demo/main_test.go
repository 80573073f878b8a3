package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/integration/programs"
)

func TestTheDemoShowsTheWaitAndThePublishedName(t *testing.T) {
	dir := t.TempDir()
	if err := programs.Product(dir, "./cmd/podfqdn"); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(filepath.Join(dir, "podfqdn"), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	at := 0
	for _, want := range []string{
		`/etc/hosts +# Kubernetes-managed hosts file\.`,
		`podfqdn +waiting for forward and reverse DNS to agree: db-0\.db\.default\.svc\.cluster\.local`,
		`podfqdn +not yet: db-0\.db\.default\.svc\.cluster\.local: 127\.0\.0\.1:\d+ says NXDOMAIN`,
		`2\.\d\ds +cluster +the record appears`,
		`podfqdn +published: db-0\.db\.default\.svc\.cluster\.local`,
		`PTR +17\.0\.244\.10\.in-addr\.arpa\. +NOERROR`,
		`(?m)^  fqdn +db-0\.db\.default\.svc\.cluster\.local$`,
		`POD_FQDN='db-0\.db\.default\.svc\.cluster\.local'`,
		`(?m)^  verified +$`,
	} {
		found := regexp.MustCompile(want).FindStringIndex(out.String()[at:])
		if found == nil {
			t.Fatalf("the output after byte %d does not show %s:\n%s", at, want, out.String())
		}
		at += found[1]
	}
}

func TestTheDemoAsksForABinary(t *testing.T) {
	var out strings.Builder
	if err := run("", &out); err == nil || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
}
