package kube

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// Causes returns why podfqdn does not get the Pod's name from DNS, the most likely
// cause first; none if all is well. wire is what podfqdn doctor found in the Pod;
// nil if it could not be asked.
//
// The API has the last word: a cause from the wire passes only if decidedByAPI
// does not claim its kind. No command from the wire passes: a container can print
// anything, and people run these commands.
func (v *View) Causes(wire *diagnosis.Diagnosis) (causes []diagnosis.Cause) {
	for _, c := range v.judged(wire) {
		causes = append(causes, c.Cause)
	}
	return causes
}

func (v *View) judged(wire *diagnosis.Diagnosis) []cause {
	ended := v.State == Refused || v.State == GaveUp || v.State == Failed
	if v.State == Over {
		return nil
	}
	if v.podfqdn.waits() {
		j := judge{View: v, wire: &diagnosis.Diagnosis{}}
		j.wait()
		return j.commands()
	}
	if wire != nil && wire.Healthy && !ended {
		j := judge{View: v, wire: wire}
		j.unpublished()
		return j.commands()
	}
	unasked := wire == nil
	if unasked || wire.Healthy { // in another container, DNS agrees: that is not why this one has ended
		wire = &diagnosis.Diagnosis{}
	}
	seen := *v
	seen.heard = wire.Facts
	if c := seen.claims(); c.service == "" || v.services[c.service].Name != "" {
		seen.claim = c // else a container's word would be in a command
	}
	j := judge{View: &seen, wire: wire}
	held := j.held()
	waits := v.State != Unused && (!unasked || !v.proven())
	outdated, ours := v.outdated()
	outdated = outdated && waits
	if outdated && ours {
		j.replaced(unasked)
		return j.commands()
	}
	j.starts()
	j.publisher()
	if waits {
		j.volume()
		j.compare()
		j.spec()
		j.outsider()
		j.refused()
		j.commandless()
	}
	j.surroundings(unasked)
	if waits && !held {
		j.awaiting()
	}
	j.gaveUp()
	j.pass(ofPeers)
	j.pass(ofRefusal)
	j.pass(ofWire)
	j.pass(ofServers)
	j.killedByProbe()
	j.entrypoint(false)
	if outdated {
		j.template()
	}
	if len(j.causes) == 0 && !held {
		j.rest()
	}
	j.probeMayKill()
	if waits && v.State != Running {
		j.slipped()
	}
	return j.commands()
}

// surroundings judges what makes the Pod's name: cluster DNS, the governing Service
// and its slices.
func (j *judge) surroundings(unasked bool) {
	if unasked {
		j.down()
	}
	j.pass(ofSilence)
	j.domain()
	j.pass(ofDomain)
	j.service()
	j.pass(ofService, ofSlices)
	j.reverse()
	j.pass(ofReverse)
}

// commands returns the causes, each with its command.
func (j *judge) commands() []cause {
	for i := range j.causes {
		c := &j.causes[i]
		if slices.ContainsFunc(c.mend, func(s step) bool { return s.recreate }) {
			c.Change += "; with strategy: {type: Recreate}, or else the old Pod and the new one would wait for each other"
		}
		c.Command = c.mend.command(j.kubectl)
	}
	return j.causes
}

// proven reports whether the API alone shows that DNS has agreed.
func (v *View) proven() bool {
	return v.State == Published || v.State == Running && (v.podfqdn.probed() || v.podfqdn.outwaits())
}

// judge finds the causes, one subject after the other.
type judge struct {
	*View
	wire   *diagnosis.Diagnosis
	causes []cause
	// mistold reports that podfqdn was given a name other than the Pod's: what DNS
	// says about that name says nothing about this Pod.
	mistold bool
	// stands reports that something permanent keeps the Pod from starting.
	stands bool
}

// cause is a diagnosis.Cause whose command is still a value.
type cause struct {
	diagnosis.Cause
	mend fix
	wire bool // it comes from the Pod, not from the API
}

// found adds a cause that the API shows. mend is nil if no command fixes it.
func (j *judge) found(kind diagnosis.Kind, why, change string, mend fix) *cause {
	j.causes = append(j.causes, cause{Cause: diagnosis.Cause{Kind: kind, Why: why, Change: change}, mend: mend})
	return &j.causes[len(j.causes)-1]
}

// take adds a cause from the wire, with what the API knows about it.
func (j *judge) take(said diagnosis.Cause) {
	c := cause{Cause: said, wire: true}
	switch {
	case c.Kind == diagnosis.DNSSilent:
		j.silence(&c)
	case c.Kind == diagnosis.ReverseNeedsHostname:
		j.release(&c)
	case c.Kind == diagnosis.DNSRefusesPTR && !j.decidedByAPI(c.Kind):
		j.refusal(&c)
	case c.Kind == diagnosis.StaleRecord && j.living(&c):
	case subjectOf(c.Kind) == ofService: // the Service was not seen, and its records do not prove its fields
		c.Guess = true
	}
	j.causes = append(j.causes, c)
}

// pass takes all causes about some subjects from the wire, unless the API
// decides their kind.
func (j *judge) pass(about ...subject) {
	for _, c := range j.wire.Causes {
		if slices.Contains(about, subjectOf(c.Kind)) && !j.decidedByAPI(c.Kind) && !(j.mistold && (ofName(c.Kind) || c.Kind == diagnosis.Misconfigured)) {
			j.take(c)
		}
	}
}

// subject is what a cause is about: it selects the part of the API that decides it.
type subject int

const (
	ofWire    subject = iota - 1 // nothing in the API shows it
	ofPod                        // the Pod's spec, and how podfqdn ended
	ofServers                    // which nameservers the Pod has
	ofSilence                    // whether they answer
	ofDomain                     // the Corefile's zones
	ofService                    // the governing Service
	ofSlices                     // its endpoints
	ofReverse                    // the Corefile's zones of arpa
	ofRefusal                    // what refuses PTR
	ofPeers                      // the peers that podfqdn waits for
)

// subjects lists the kinds that are not ofWire. A new kind belongs here if the
// API can show it.
var subjects = [...][]diagnosis.Kind{
	ofPod:     {diagnosis.HostNetwork, diagnosis.HostnameOverride, diagnosis.NoSubdomain, diagnosis.Unexplained, diagnosis.Volume, diagnosis.KilledByProbe, diagnosis.BinaryMissing, diagnosis.Unschedulable, diagnosis.TemplateChanged},
	ofServers: {diagnosis.ForeignDNS},
	ofSilence: {diagnosis.DNSSilent},
	ofDomain:  {diagnosis.ClusterDomain},
	ofService: {diagnosis.NoService, diagnosis.SelectorMismatch, diagnosis.NotReadyHidden, diagnosis.ReadinessDeadlock, diagnosis.SubdomainMismatch, diagnosis.SingleFamily, diagnosis.NotHeadless},
	ofSlices: {diagnosis.NoHostname, diagnosis.HostnameShared, diagnosis.RollingUpdate, diagnosis.Terminating, diagnosis.DebugCopy,
		diagnosis.SecondService, diagnosis.NotInSlice, diagnosis.NotInDNS},
	ofReverse: {diagnosis.NoReverseZone},
	ofRefusal: {diagnosis.DNSRefusesPTR},
	ofPeers:   {diagnosis.PeersMissing, diagnosis.PeersDeadlock},
}

func subjectOf(kind diagnosis.Kind) subject {
	return subject(slices.IndexFunc(subjects[:], func(kinds []diagnosis.Kind) bool { return slices.Contains(kinds, kind) }))
}

// decidedByAPI reports whether the API has shown enough to decide a kind of
// cause, either way: a cause of that kind from the wire does not pass then.
func (j *judge) decidedByAPI(kind diagnosis.Kind) bool {
	ignored := j.value("PODFQDN_REVERSE") == "ignore"
	switch subjectOf(kind) {
	case ofPod: // it is always seen
		return true
	case ofServers: // a wrong one does not know the domain, nor does one that serves another
		return j.shows(ofServers) || j.shows(ofDomain)
	case ofDomain:
		return j.zoned()
	case ofService:
		return j.services != nil || j.claim.foreign
	case ofSlices: // what a wrong Service does to them follows
		return j.services != nil && (j.sliced || j.shows(ofService)) || j.claim.foreign
	case ofReverse:
		return j.zoned() || ignored
	case ofRefusal:
		return j.shows(ofReverse) || ignored
	case ofPeers:
		_, known := j.awaits()
		return j.shows(ofPeers) || kind == diagnosis.PeersDeadlock && (!j.ordered() || known && j.services != nil && j.sliced)
	}
	return false
}

// shows reports whether the API has shown a cause about a subject.
func (j *judge) shows(about subject) bool {
	return slices.ContainsFunc(j.causes, func(c cause) bool { return !c.wire && subjectOf(c.Kind) == about })
}

// rest adds what is left when nothing is found: the most likely cause from the
// wire, even though the API has not shown it, or how podfqdn ended.
func (j *judge) rest() {
	guess := func(why, change string) { j.found(diagnosis.Unexplained, why, change, nil).Guess = true }
	first := diagnosis.Unexplained
	if len(j.wire.Causes) > 0 {
		first = j.wire.Causes[0].Kind
	}
	switch {
	case first != diagnosis.Unexplained:
		for _, c := range j.wire.Causes {
			if c.Kind == first {
				j.take(c)
			}
		}
	case j.wire.Reason != "":
		guess(j.wire.Reason, "fix what the questions above show")
	case j.State == Failed && j.code == exitVolume:
		j.found(diagnosis.Volume, "podfqdn could not use its volume: "+j.Reason, "fix what the message names: the Pod's spec shows no mistake in the mount", nil)
	case j.unstarted():
		guess("podfqdn could not be started: "+j.Reason, "find out what keeps the container from starting: see kubectl describe pod")
	case j.State == GaveUp || j.State == Failed:
		guess("podfqdn's last message: "+j.Reason, "the API shows no fault now: see what podfqdn says once the kubelet has restarted it")
	case j.State == Waiting:
		guess("podfqdn waits, but the API shows no fault", fmt.Sprintf("see what podfqdn finds in the Pod, where it was not asked: %s exec %s -c %s -- %s doctor",
			in(j.kubectl, j.Namespace), Quote(j.Pod), Quote(j.Container), j.podfqdn.binary()))
	case j.State == Unused && (j.services == nil || !j.sliced):
		guess("the Services and EndpointSlices that make the Pod's name were not read, and no podfqdn has asked DNS", "get the permission to list the Services and EndpointSlices of the namespace")
	case j.State == Pending:
		guess("podfqdn has not started yet", "nothing, if the Pod is new; otherwise see kubectl describe pod")
	}
}

// missed maps the exit codes of a deadline at which DNS agreed to what was missing
// (docs/contract.md, exit codes).
var missed = map[int32]diagnosis.Kind{14: diagnosis.KeysMissing, exitPeerless: diagnosis.PeersMissing, 16: diagnosis.CertificateMissing}

// gaveUp adds what podfqdn itself said at its deadline, if DNS was not asked since.
func (j *judge) gaveUp() {
	said, again := strings.CutPrefix(j.Reason, "before that: ")
	kind, ok := missed[j.code]
	if !ok || j.State != GaveUp && !again || j.wire.Verdict != "" || kind == diagnosis.PeersMissing && j.shows(ofPeers) {
		return
	}
	j.found(kind, "podfqdn's last message: "+said, "fix what the message names; the kubelet restarts podfqdn, which then checks again", nil)
	j.advance()
}

// advance puts the last cause in front of those that are guesses.
func (j *judge) advance() {
	last := len(j.causes) - 1
	c := j.causes[last]
	if i := slices.IndexFunc(j.causes, func(c cause) bool { return c.Guess }); i >= 0 {
		j.causes = slices.Insert(j.causes[:last:last], i, c)
	}
}

// refused adds what podfqdn refused before it asked DNS, whatever else is wrong,
// unless what was found is about the same variable or the Pod's spec says it
// better.
func (j *judge) refused() {
	why, ended := strings.CutPrefix(j.Reason, "before that: ")
	if j.code != exitRefused || j.State != Refused && !ended {
		return
	}
	name := variable.FindString(why)
	if len(j.causes) > 0 && (name == "" || slices.ContainsFunc(j.causes, func(c cause) bool { return strings.Contains(c.Why, name) })) {
		return
	}
	// podfqdn ends a refusal with what to change; several in one text cannot be separated.
	change := fmt.Sprintf("fix what podfqdn reports; `%s logs %s --container %s` shows all of it", in(j.kubectl, j.Namespace), Quote(j.Pod), Quote(j.Container))
	if i := strings.LastIndex(why, ": "); i > 0 && !strings.Contains(why[:i], "; ") {
		why, change = why[:i], why[i+2:]
	}
	if name != "" && strings.HasPrefix(change, "must be ") {
		change = fmt.Sprintf("the variable %s of container %+q: it %s", name, j.Container, change)
	}
	j.found(diagnosis.Misconfigured, why, change, nil)
}

// variable begins a refusal that is about one.
var variable = regexp.MustCompile(`^POD(FQDN)?_[A-Z0-9_]+`)
