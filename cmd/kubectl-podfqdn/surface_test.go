package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/podtest/surface"
)

// docs/v1.txt is compared with what the code has, so that a change of what users rely
// on is seen and decided. podfqdn's part is compared in cmd/podfqdn.
func TestV1KeepsWhatItPromises(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nowhere")
	list, err := os.ReadFile("../../docs/v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	items := slices.Concat(promisedCommands(t), promisedConstants(t), promisedFields())
	for _, difference := range surface.Differences(string(list), "kubectl podfqdn", items) {
		t.Error(difference)
	}
}

// promisedCommands are the commands with their flags, and what doctor takes.
func promisedCommands(t *testing.T) (items []string) {
	root := command(io.Discard, new(int))
	root.InitDefaultHelpCmd()
	of := func(c *cobra.Command, name string) {
		c.InitDefaultHelpFlag()
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			item := name + "flag --" + f.Name
			if f.Shorthand != "" {
				item += ", -" + f.Shorthand
			}
			item += " " + f.Value.Type()
			if !slices.Contains([]string{"", "[]", "false"}, f.DefValue) {
				item += ", otherwise " + f.DefValue
			}
			items = append(items, item)
		})
	}
	of(root, "")
	for _, c := range root.Commands() {
		items = append(items, "command "+c.Name())
		of(c, "command "+c.Name()+", ")
	}
	for word, resource := range kinds {
		items = append(items, fmt.Sprintf("command doctor, argument %s/NAME of %s", word, resource))
	}
	output, _, err := root.Find([]string{"doctor"})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(output.Flags().Lookup("output").Usage, -1) {
		var errs strings.Builder
		run(t.Context(), []string{"doctor", "db-0", "-o", word}, io.Discard, &errs)
		if !strings.Contains(errs.String(), "--output") {
			items = append(items, "command doctor, flag --output takes "+word)
		}
	}
	return items
}

// promisedConstants are the exit codes, with the constants' names, and the states of a
// Pod.
func promisedConstants(t *testing.T) (items []string) {
	codes, err := surface.Constants(".")
	states, unread := surface.Constants("../../identity/kube")
	if err := errors.Join(err, unread); err != nil {
		t.Fatal(err)
	}
	for _, c := range codes {
		if name, ok := strings.CutPrefix(c.Name, "exit"); ok {
			items = append(items, fmt.Sprintf("exit code %s: %s", c.Value, strings.ToLower(name)))
		}
	}
	for _, c := range states {
		if c.Type == "State" {
			items = append(items, fmt.Sprintf("state %q", c.Value))
		}
	}
	return items
}

// promisedFields are those of doctor -o json, which are those of -o yaml.
func promisedFields() (items []string) {
	named := map[reflect.Type]string{reflect.TypeFor[diagnosis.Diagnosis](): "what podfqdn doctor -o json prints"}
	for of, kind := range map[string]reflect.Type{"a Pod": reflect.TypeFor[report](), "a table": reflect.TypeFor[list]()} {
		for _, field := range surface.Fields(kind, named) {
			items = append(items, fmt.Sprintf("doctor -o json of %s, %s", of, field))
		}
	}
	return append(items, fmt.Sprintf("doctor -o json, schema %d", schema))
}
