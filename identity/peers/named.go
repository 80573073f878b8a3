package peers

import (
	"fmt"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// Named returns a Roll of names of any kind, of Pods, of Services or of neither,
// such as "other-service", "zk-{0..2}.zk" or "db.example.com"; wait says how many must
// be there. A short name is completed as the cluster's own domains in a search list
// would do it, with the most specific first; one with a root dot is whole. A name
// that is there twice counts once. Only names that have the form of a Pod's are looked
// for in reverse too, by rule.
//
// The error is a *identity.Refusal.
func Named(texts []string, wait Wait, zone identity.Name, searchList []string, rule identity.ReverseRule) (*Roll, error) {
	domain := "" // NAMESPACE.svc.ZONE, which the kubelet puts first
	for _, d := range searchList {
		name, err := identity.ParseName(d)
		if parts := strings.SplitN(name.String(), ".", 3); err == nil && domain == "" && len(parts) == 3 && parts[1] == "svc" {
			own, _ := identity.ParseName(parts[2])
			if zone.IsZero() {
				zone = own
			}
			if zone == own {
				domain = name.String()
			}
		}
	}
	search := &identity.Search{Zone: zone, Reverse: rule}
	r := newRoll("names", 0, 1)
	at := map[identity.Name]bool{}
	for _, text := range texts {
		i, err := parseItem(text, "")
		if err != nil {
			return nil, refuse(err, "write names such as other-service, other-service.other-namespace or zk-{0..2}.zk")
		}
		for n := i.first; n <= i.last; n++ {
			names, err := spellings(i.name(n), zone, domain)
			if err != nil {
				return nil, err
			}
			if at[names[0]] { // it would count twice
				continue
			}
			at[names[0]] = true
			if r.add(search, i.name(n), names...); len(r.members) > maxMembers {
				return nil, refuse(fmt.Errorf("there are more than %d names", maxMembers), "wait for fewer")
			}
		}
	}
	switch all := len(r.members); {
	case wait.number > all:
		return nil, refuse(fmt.Errorf("cannot wait for %d of %d names", wait.number, all), "wait for fewer")
	case wait.number > 0:
		r.need = wait.number
	case wait.word == "majority":
		r.need = all/2 + 1
	default:
		r.need = all
	}
	return r, nil
}

// spellings returns the whole names that a name may stand for; domain is
// NAMESPACE.svc.ZONE, or "" where nobody says. The error is a *identity.Refusal.
func spellings(text string, zone identity.Name, domain string) (names []identity.Name, err error) {
	whole, err := identity.ParseName(text)
	if err != nil {
		return nil, refuse(err, "write shorter names")
	}
	labels := strings.Count(whole.String(), ".") + 1
	var in []string
	switch {
	case strings.HasSuffix(text, ".") || zone.IsZero() || whole.Under(zone):
	case strings.HasSuffix(whole.String(), ".svc"):
		in = []string{zone.String()}
	case labels == 1 && domain == "":
		return nil, refuse(fmt.Errorf("%+q is a short name, and the search list of /etc/resolv.conf does not say in which namespace", text), "write the whole name")
	case labels == 1:
		in = []string{domain}
	case labels == 2 && domain != "":
		in = []string{domain, "svc." + zone.String()}
	case labels <= 3:
		in = []string{"svc." + zone.String()}
	}
	for _, d := range in {
		if name, err := identity.ParseName(whole.String() + "." + d); err == nil {
			names = append(names, name)
		}
	}
	if len(in) == 0 || labels > 1 && in[0] != zone.String() {
		names = append(names, whole)
	}
	if len(names) == 0 {
		return nil, refuse(fmt.Errorf("%+q is too long in this cluster", text), "write a shorter name")
	}
	return names, nil
}
