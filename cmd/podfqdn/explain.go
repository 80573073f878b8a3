package main

import (
	"context"
	"slices"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// explainer gives a wait its cause in one line.
type explainer struct {
	walk  identity.Walk
	facts identity.Facts

	witnesses identity.Report
	about     identity.Verdict // of what they were asked
	next      time.Duration    // before it they are not asked again
}

// witnessPatience bounds what the walk is held up.
const witnessPatience = time.Second

// ask asks the witnesses, where the wait has lasted long enough and has doubled
// since they were asked last, and gives what they said.
func (e *explainer) ask(ctx context.Context, t identity.Turn, m *identity.Mismatch) identity.Report {
	if t.Waited < max(hintAfter, e.next) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, witnessPatience)
	defer cancel()
	e.witnesses = identity.Witnesses(ctx, e.walk.Resolver, e.facts, e.walk.Claim, m)
	e.about, e.next = m.Verdict, 2*t.Waited
	return e.witnesses
}

// cause gives the likeliest one.
func (e *explainer) cause(t identity.Turn, m *identity.Mismatch) string {
	report := t.Report
	if e.about == m.Verdict {
		report = append(slices.Clone(report), e.witnesses...)
	}
	return identity.Diagnose(e.facts, e.walk.Claim, report, m)[0].String()
}
