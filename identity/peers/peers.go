// Package peers waits until the names of other servers are in DNS: of the other
// members of a clustered server's set, before it starts, or of any that somebody
// names. It asks as harmlessly as package identity does for the Pod's own name, so
// that no cache keeps a denial which the server would meet a moment later.
//
// A name in DNS is not a sign of life: with publishNotReadyAddresses a Pod that hangs,
// or whose node is dead, still resolves.
//
// What a process asks is bounded. About a peer that is there it asks three questions,
// once (four without an A record), and of each probe type once whether it tells the
// truth; about one that is missing at most 175 in the first minute, 75 in the second
// and then 15 a minute. All of it comes out of a bucket: N members that are a count or
// a range have one of 6,000 questions together, which fills at 300 a second, and each
// has its Nth of both; a process with a list of names, or "podfqdn wait", has one of
// 200, which fills at 200 a second. So each of 1,000 members asks some 275 in a quarter of
// an hour, however many are missing.
package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// Config is what the variables say of peers.
type Config struct {
	Members Members `env:"PODFQDN_PEERS" doc:"the members of this Pod's set: how many (3), their ordinals (1..3), or names (zk-{0..2},jn-0.journal); published, and see PODFQDN_PEERS_WAIT"`
	Wait    Wait    `env:"PODFQDN_PEERS_WAIT" envDefault:"none" doc:"how many of them must be in DNS before the name is published: none, majority, all, lower (those of a lower ordinal), or a number, this Pod included"`
}

// Wait is how many members are waited for.
type Wait struct {
	word   string // "none", "majority", "all", "lower"; "" for a number
	number int
}

// UnmarshalText reads one of the words, or a number from 1 on; "" is none.
func (w *Wait) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "", "none", "majority", "all", "lower":
		*w = Wait{word: s}
	default:
		n, err := number(s)
		if err != nil || n < 1 {
			return errors.New("must be none, majority, all, lower, or a number of members from 1 on")
		}
		*w = Wait{number: n}
	}
	return nil
}

func (w Wait) String() string {
	if w.number > 0 {
		return strconv.Itoa(w.number)
	}
	return w.word
}

// none reports whether nothing is waited for.
func (w Wait) none() bool { return w.number == 0 && (w.word == "" || w.word == "none") }

// Variables lists what a Requirement may add to identity.env.
func Variables() []string { return []string{identity.VariablePeers} }

// Requirement makes the peers of a claim. It is nil without any. The error is a
// *identity.Refusal.
func (c Config) Requirement(claim identity.Claim, _ string) (*identity.Requirement, error) {
	if c.Members.IsZero() {
		if !c.Wait.none() {
			return nil, refuse(fmt.Errorf("PODFQDN_PEERS_WAIT=%s has no effect alone", c.Wait), "set PODFQDN_PEERS too, such as 3")
		}
		return nil, nil
	}
	names, self, err := c.Members.names(claim)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, name := range names {
		texts = append(texts, name.String())
	}
	r := &identity.Requirement{
		Name: "peers", Title: "Peers", From: "PODFQDN_PEERS", Once: true,
		Require: func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) { return nil, nil },
		Check:   func(context.Context, identity.Resolver) error { return nil },
		Addition: identity.Addition{
			Environment: []string{identity.VariablePeers + "='" + strings.Join(texts, ",") + "'"},
			Files:       []identity.File{{Name: identity.FilePeers, Data: []byte(strings.Join(texts, "\n") + "\n"), Mode: 0o644}},
		},
	}
	if c.Wait.none() {
		return r, nil
	}
	w, err := c.waiting(claim, names, self)
	if err != nil {
		return nil, err
	}
	r.From, r.Word = "PODFQDN_PEERS_WAIT", "peers "+c.Wait.String()
	r.Label, r.Wants = "peers", []string{w.wants(c.Wait)}
	r.Require, r.Found = w.require, w.found
	r.Check = func(ctx context.Context, dns identity.Resolver) error {
		fresh, err := c.waiting(claim, names, self)
		if err != nil {
			return err
		}
		fresh.Roll.rate, fresh.Roll.burst, fresh.Roll.left = processRate, processRate, 0 // one doctor, and not the whole set
		return fresh.notYet(fresh.sweep(ctx, dns))
	}
	return r, nil
}

// Waits returns the names that a Pod waits for, in their order, itself left out, and
// how many of them must be there. The error is a *identity.Refusal.
func (c Config) Waits(claim identity.Claim) (others []identity.Name, need int, err error) {
	names, self, err := c.Members.names(claim)
	if err != nil {
		return nil, 0, err
	}
	others, need, err = c.others(claim, names, self)
	if at := slices.Index(others, claim.Name()); at >= 0 { // which is proven by then
		others, need = slices.Concat(others[:at], others[at+1:]), need-1
	}
	return others, need, err
}

// others returns the members that count, and how many of them must be there, this Pod
// included if it is one of them. The error is a *identity.Refusal.
func (c Config) others(claim identity.Claim, names []identity.Name, self int) (others []identity.Name, need int, err error) {
	switch {
	case c.Wait.none():
		return nil, 0, nil
	case c.Wait.word == "lower":
		if self < 0 {
			return nil, 0, refuse(fmt.Errorf("PODFQDN_PEERS_WAIT=lower, but %s is not among PODFQDN_PEERS", claim.Name()), "list this Pod too, or set all")
		}
		return names[:self], self, nil
	case c.Wait.word == "majority":
		return names, len(names)/2 + 1, nil
	case c.Wait.word == "all":
		return names, len(names), nil
	case c.Wait.number > len(names):
		return nil, 0, refuse(fmt.Errorf("PODFQDN_PEERS_WAIT=%d, but PODFQDN_PEERS has %d members", c.Wait.number, len(names)), "set at most that many")
	}
	return names, c.Wait.number, nil
}

// waiting returns the members to wait for. The error is a *identity.Refusal.
func (c Config) waiting(claim identity.Claim, names []identity.Name, self int) (*waiting, error) {
	others, need, err := c.others(claim, names, self)
	if err != nil {
		return nil, err
	}
	w := &waiting{claim: claim, total: len(names), need: need}
	askers := 1
	if c.Members.own { // each of them asks for all the others
		askers = len(names)
	}
	search := &identity.Search{Zone: claim.Zone(), Reverse: claim.Reverse()}
	w.Roll = newRoll("members", w.need, askers)
	for _, name := range others {
		if name == claim.Name() { // which is proven by then
			w.Roll.there++
			continue
		}
		w.Roll.add(search, "", name)
	}
	return w, nil
}

// waiting is the members of one Pod's set that it waits for. It is for one goroutine.
type waiting struct {
	*Roll
	claim       identity.Claim
	total, need int // of the set, and how many of them must be there, this Pod included
}

// wants describes what is waited for.
func (w *waiting) wants(wait Wait) string {
	names := w.Roll.Written()
	if len(names) == 0 {
		return "no other, as this Pod is the first"
	}
	return fmt.Sprintf("%s: %d of %d members in DNS; others are %s", wait, w.need, w.total, identity.List(names))
}

// require looks once for those that are missing.
func (w *waiting) require(ctx context.Context, a identity.Agreement, dns identity.Resolver) ([]identity.File, error) {
	if a.Name() != w.claim.Name() {
		return nil, fmt.Errorf("these are the peers of %s, and %+q was proven", w.claim.Name(), a.Name())
	}
	return nil, w.notYet(w.Look(ctx, dns))
}

// notYet turns a *Missing into a Mismatch.
func (w *waiting) notYet(err error) error {
	m, ok := errors.AsType[*Missing](err)
	if !ok {
		return err
	}
	return identity.NotYet(identity.Peerless, &identity.Unreached{Names: m.Names, Topic: m.Topic, Err: fmt.Errorf("%s: %w", w.claim.Name(), m)}, m.Again)
}

// found says how many are there.
func (w *waiting) found() string {
	return fmt.Sprintf("%d of %d needed members", w.Roll.there, w.need)
}
