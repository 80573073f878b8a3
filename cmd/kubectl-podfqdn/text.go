package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/kube"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// text writes the report for a person: the facts, the view from the wire, the causes.
func (r report) text(w io.Writer) {
	s := diagnosis.NewScreen(w)
	pod := fmt.Sprintf("Pod %s in namespace %s", r.Pod, r.Namespace)
	if r.Healthy {
		if len(r.Ahead) > 0 {
			pod += ", but the API shows what DNS does not show yet"
		} else if len(r.Unchecked) > 0 {
			pod += ", as far as it was looked at"
		}
		s.Verdict(true, pod)
	} else {
		s.Verdict(false, pod+": "+string(r.Causes[0].Kind))
	}
	s.Facts("what the API says", r.Facts)
	var unseen []string
	for _, right := range r.Lacks {
		unseen = append(unseen, "you are not allowed to "+right.String())
	}
	s.Lines("what could not be seen", append(unseen, r.Trouble...)...)
	s.Lines("and how an administrator grants it", r.Grant...)
	if r.Wire == nil {
		s.Lines("the view from the wire", "none: "+r.NoWire)
	} else {
		s.Facts("the view from the wire, by podfqdn doctor in container "+r.Container, r.Wire.Facts)
		s.Questions(*r.Wire)
	}
	for _, o := range r.Others {
		if o.Wire == nil {
			s.Lines("the view from the wire in container "+o.Container, "none: "+o.NoWire)
		} else {
			s.Facts("the view from the wire, by podfqdn doctor in container "+o.Container, o.Wire.Facts)
			s.Questions(*o.Wire)
		}
	}
	s.Lines("what was not looked at", r.Unchecked...)
	s.Lines("what is wrong although DNS agrees", r.Warnings...)
	s.Lines("what the API shows, and DNS does not show yet", r.Ahead...)
	if len(r.Changes) > 0 && (!r.Healthy || len(r.Ahead) > 0) {
		s.Facts("what changed last", r.Changes)
	}
	s.Lines("ruled out", r.RuledOut...)
	if r.IfNothing != "" {
		s.Lines("and otherwise", "if nothing is done: "+r.IfNothing, "if the Pod is deleted: "+r.IfDeleted)
	}
	s.Causes(r.Causes, "")
	s.Lines("what undoes the commands", r.Undo...)
}

// text writes the list for a person: a line for each Pod, and what to do next.
func (l list) text(w io.Writer) {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(words ...string) {
		for i, word := range words {
			words[i] = shown.Printable(word)
		}
		fmt.Fprintln(columns, strings.TrimRight(strings.Join(words, "\t"), "\t"))
	}
	row("NAMESPACE", "POD", "STATE", "FOR", "REASON")
	var worst *kube.Use
	for i, u := range l.Pods {
		age := ""
		if u.For > 0 {
			age = u.For.String()
		}
		row(u.Namespace, u.Pod, string(u.State), age, u.Reason)
		if worst == nil && !u.Healthy {
			worst = &l.Pods[i]
		}
	}
	columns.Flush()
	diagnosis.NewScreen(w).Lines("what they have in common", kube.Groups(l.Pods)...)
	if worst != nil {
		fmt.Fprintf(w, "\nsee kubectl podfqdn doctor -n %s %s%s\n", shown.Printable(worst.Namespace), shown.Printable(worst.Pod), shown.Printable(strings.TrimPrefix(l.kubectl, "kubectl")))
	}
}
