package kube

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/peers"
)

// waitArgs returns the arguments of `podfqdn wait` in a container; ok is false where
// it does something else. One whose command is wait alone is meant so, though
// podfqdn's image cannot start it.
func (c part) waitArgs() (args []string, ok bool) {
	words := slices.Concat(c.Command, c.Args)
	if file, command := c.runs(); command == "wait" {
		if words[0] == file {
			return words[2:], true
		}
		for _, word := range words {
			if at := inShell.FindStringIndex(word); at != nil {
				line, _, _ := strings.Cut(word[at[1]:], "\n")
				if end := strings.IndexAny(line, ";&|)"); end >= 0 {
					line = line[:end]
				}
				return strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(line)), true
			}
		}
	}
	if len(words) > 0 && words[0] == "wait" && (len(c.Command) == 0 || ours(c.Image)) {
		return words[1:], true
	}
	return nil, false
}

// waits reports whether podfqdn in the container waits for other names, and so needs
// none of its own.
func (c part) waits() bool {
	_, ok := c.waitArgs()
	return ok
}

// shelled reports whether a shell runs podfqdn in the container, and perhaps
// something else behind it.
func (c part) shelled() bool {
	words := slices.Concat(c.Command, c.Args)
	file, _ := c.runs()
	return file != "" && words[0] != file
}

// sought is a name that `podfqdn wait` waits for.
type sought struct {
	text     string // as it is written, without ranges
	readings []seat // what it may be in the cluster, as podfqdn completes it
	outside  bool   // it may also be a name of something else
}

// seat is where Kubernetes makes a name.
type seat struct {
	pod                string // "" for the Service's own name
	service, namespace string
}

func (s seat) String() string {
	return fmt.Sprintf("Service %+q in namespace %+q", s.service, s.namespace)
}

// seeks returns the names that `podfqdn wait` waits for, each once, and how many must
// be there; ok is false where that is not known, or podfqdn refuses it.
func (v *View) seeks() (names []sought, need int, ok bool) {
	args, _ := v.podfqdn.waitArgs()
	many := "all"
	for i := range args {
		value, known := v.expand(args[i], len(v.podfqdn.Env))
		if !known {
			return nil, 0, false
		}
		args[i] = value
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag, value, given := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		if args = args[1:]; flag != "for" {
			break // "--" ends the flags, and podfqdn refuses all others
		}
		if !given && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		many = value
	}
	zone, err := identity.ParseName(v.zone())
	if err != nil {
		return nil, 0, false
	}
	roll, err := peers.Named(args, peers.Wait{}, zone, []string{v.Namespace + ".svc." + v.zone()}, identity.ReverseIgnore)
	if err != nil {
		return nil, 0, false // podfqdn says it itself
	}
	for _, text := range roll.Written() {
		names = append(names, v.soughtOf(text))
	}
	switch n, err := strconv.Atoi(many); {
	case err == nil:
		need = n
	case many == "majority":
		need = len(names)/2 + 1
	default:
		need = len(names)
	}
	return names, need, len(names) > 0
}

// zone returns the cluster domain, as far as it is seen; any other is as good, as
// names are compared without it.
func (v *View) zone() string {
	if domains := v.dns.corefile.domains; len(domains) > 0 && domains[0] != "" {
		return domains[0]
	}
	return "cluster.local"
}

// soughtOf returns what a name may be, as podfqdn completes it (identity/peers,
// spellings).
func (v *View) soughtOf(text string) sought {
	s := sought{text: text}
	whole, rooted := strings.CutSuffix(strings.ToLower(text), ".")
	parts := strings.Split(whole, ".")
	inner, inZone := strings.CutSuffix(whole, ".svc."+v.zone())
	if !inZone && !rooted {
		inner, inZone = strings.CutSuffix(whole, ".svc")
	}
	switch n := len(parts); {
	case inZone:
		switch parts := strings.Split(inner, "."); len(parts) {
		case 2:
			s.readings = []seat{{"", parts[0], parts[1]}}
		case 3:
			s.readings = []seat{{parts[0], parts[1], parts[2]}}
		}
	case rooted || strings.HasSuffix(whole, "."+v.zone()):
	case n == 1:
		s.readings = []seat{{"", parts[0], v.Namespace}}
	case n == 2:
		s.readings, s.outside = []seat{{parts[0], parts[1], v.Namespace}, {"", parts[0], parts[1]}}, true
	case n == 3:
		s.readings, s.outside = []seat{{parts[0], parts[1], parts[2]}}, true
	}
	return s
}

// far is a Service of another namespace, with what its EndpointSlices have.
type far struct {
	service *corev1.Service // nil: there is none
	slices  []discoveryv1.EndpointSlice
	sliced  bool
}

// seeFar reads the Services of other namespaces that `podfqdn wait` waits for, at
// most six.
func (v *View) seeFar(see reader) {
	for _, each := range v.Each() {
		if each.Healthy || !each.podfqdn.waits() {
			continue
		}
		names, _, _ := each.seeks()
		for _, name := range names {
			for _, s := range name.readings {
				if _, seen := v.far[s.outer()]; !seen && s.namespace != v.Namespace && len(v.far) < maxAwaited {
					v.seeFarOne(see, s)
				}
			}
		}
	}
}

func (s seat) outer() seat { return seat{service: s.service, namespace: s.namespace} }

func (v *View) seeFarOne(see reader, s seat) {
	service := &corev1.Service{}
	err := see(Right{Verb: "get", Resource: "services", Namespace: s.namespace, Name: s.service}, "", service)
	switch {
	case apierrors.IsNotFound(err):
		v.far[s.outer()] = far{}
		return
	case err != nil:
		return
	}
	f := far{service: service}
	if headless(*service) || s.pod != "" {
		var list discoveryv1.EndpointSliceList
		err := see(Right{Verb: "list", Group: discoveryv1.GroupName, Resource: "endpointslices", Namespace: s.namespace}, discoveryv1.LabelServiceName+"="+s.service, &list)
		f.slices, f.sliced = list.Items, err == nil
	}
	v.far[s.outer()] = f
}

// wait judges a container of `podfqdn wait`: what keeps it from starting, and what
// each name lacks. It says nothing of the Pod's own name, which it does not need.
func (j *judge) wait() {
	if j.State == Published || j.State == Running || j.held() {
		return
	}
	outdated, ours := j.outdated()
	if outdated && ours {
		j.template()
		return
	}
	j.starts()
	j.refused()
	if len(j.causes) == 0 && (j.State == Waiting || j.State == GaveUp) {
		j.nameservers()
		j.down()
		j.lacking()
	}
	if outdated {
		j.template()
	}
	if len(j.causes) == 0 {
		j.rest()
	}
}

// held reports whether a container has not started because podfqdn waits in one that
// comes first.
func (j *judge) held() bool {
	if j.State != Pending {
		return false
	}
	for _, c := range find(j.pod, "") {
		if c.Name == j.Container || !slices.ContainsFunc(j.pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name }) {
			return false
		}
		if u := useOf(j.pod, c); c.waits() && !u.Healthy {
			return true
		}
	}
	return false
}

// lacking judges what each name lacks for which `podfqdn wait` waits, in groups.
func (j *judge) lacking() {
	names, need, ok := j.seeks()
	if !ok {
		return
	}
	var (
		lacks         []string // each once, in the order of the names
		who           = map[string][]string{}
		there, beyond int
	)
	for _, name := range names {
		lack := j.lackOfName(name)
		switch lack {
		case "":
			there++
		case unseen, outside:
			beyond++
		}
		if !slices.Contains(lacks, lack) {
			lacks = append(lacks, lack)
		}
		who[lack] = append(who[lack], name.text)
	}
	shown := "the API shows it" + either(there+beyond >= need, ", but DNS does not show it yet", "")
	why := fmt.Sprintf("podfqdn waits, and the API shows %d of %d needed names; ", there, need) + join(lacks, "; ", func(lack string) string {
		return identity.List(who[lack]) + ": " + either(lack == "", shown, lack)
	})
	if j.State == GaveUp {
		why = "podfqdn's last message: " + j.Reason + "; now " + strings.TrimPrefix(why, "podfqdn waits, and ")
	}
	j.found(diagnosis.PeersMissing, why,
		fmt.Sprintf("fix what is said of each name, or change the names in args of container %+q; `%s logs %s --container %s` shows what DNS says", j.Container, in(j.kubectl, j.Namespace), Quote(j.Pod), Quote(j.Container)), nil).Guess = there+beyond >= need
}

// outside is what a name lacks that Kubernetes does not make.
const outside = "not a name of this cluster, so the API shows nothing about it"

// lackOfName returns what a name lacks, in a few words; "" for nothing, unseen or
// outside.
func (j *judge) lackOfName(name sought) string {
	blind := false
	first := ""
	for _, s := range name.readings {
		lack, exists := j.lackAt(s)
		switch {
		case lack == "":
			return ""
		case exists && first == "":
			first = lack
		}
		blind = blind || lack == unseen
	}
	switch none := join(name.readings, " and no ", seat.String); {
	case len(name.readings) == 0:
		return outside
	case first != "":
		return first
	case blind:
		return unseen
	case name.outside:
		return "there is no " + none + "; the API shows nothing about a name outside the cluster"
	default:
		return "there is no " + none
	}
}

// lackAt returns what a reading of a name lacks, as lackOfName does, and whether its
// Service exists.
func (j *judge) lackAt(s seat) (lack string, exists bool) {
	v, own := j.View, s.namespace == j.Namespace
	service, seen := corev1.Service{}, j.services != nil
	if own {
		service, exists = j.services[s.service]
	} else {
		var f far
		if f, seen = j.far[s.outer()]; f.service != nil {
			service, exists = *f.service, true
		}
		v = &View{slices: f.slices, sliced: f.sliced}
	}
	switch {
	case !seen:
		return unseen, false
	case !exists:
		return s.String(), false
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("%s has type ExternalName, so the API shows nothing about %+q", s, service.Spec.ExternalName), true
	case s.pod == "" && !headless(service):
		return "", true
	case !v.sliced:
		return unseen, true
	case s.pod != "":
		published := v.byName()[[2]string{s.service, s.pod}]
		if own {
			return j.lack(awaited{holders: j.holders()}, peer{hostname: s.pod, service: s.service, namespace: s.namespace, published: published}), true
		}
		return either(len(published) > 0, "", fmt.Sprintf("no EndpointSlice of %s publishes it", s)), true
	}
	all := v.endpoints(s.service)
	switch {
	case slices.ContainsFunc(all, endpoint.ready):
		return "", true
	case service.Spec.PublishNotReadyAddresses || len(all) == 0:
		return fmt.Sprintf("%s is headless and has no Pod with an address; it selects %s", s, labelled(service.Spec.Selector)), true
	}
	return fmt.Sprintf("%s is headless and has no Pod that is Ready, and does not have publishNotReadyAddresses: true", s), true
}

// otherwiseRun judges a container of podfqdn's own image whose command takes the place
// of podfqdn: one of its commands alone, or a shell, which the image does not have.
// It reports whether it is one that could not be started.
func (j *judge) otherwiseRun() bool {
	command := j.podfqdn.Command
	if !ours(j.podfqdn.Image) || len(command) == 0 || path.Base(command[0]) == "podfqdn" || !j.unstarted() && j.State != Pending ||
		!strings.Contains(j.Reason, command[0]) || mountedOver(j.podfqdn, command[0]) {
		return false
	}
	words := slices.Concat(command, j.podfqdn.Args)
	why := fmt.Sprintf("container %+q was not started: its command, %s, replaces podfqdn in podfqdn's image", j.Container, list(words))
	change := fmt.Sprintf("container %+q: args, and no command: podfqdn is the image's ENTRYPOINT", j.Container)
	args, ok := j.podfqdn.waitArgs()
	switch {
	case j.podfqdn.shelled():
		why += ", which has no shell"
		if ok {
			change = fmt.Sprintf("container %+q: no command, and args: %s", j.Container, list(append([]string{"wait"}, args...)))
		}
	case slices.Contains([]string{"init", "sidecar", "exec", "wait", "check", "doctor"}, command[0]):
		change = fmt.Sprintf("container %+q: no command, and args: %s", j.Container, list(words))
	default:
		why += ", which has no other program and no shell"
	}
	j.found(diagnosis.BinaryMissing, why, change, nil)
	return true
}

// mountedOver reports whether a file may be one of a volume.
func mountedOver(c part, file string) bool {
	_, ok := mountAt(c.Container, path.Clean(file))
	return ok
}
