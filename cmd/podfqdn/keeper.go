package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/screen"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// runWalk walks the path: to the first agreement for "init", and on from there
// for "sidecar". It leaves its reason where people look first: the log, and the
// Pod's status by way of the termination log.
func runWalk(ctx context.Context, command string, args, environ []string, stderr io.Writer) int {
	cfg, facts, unknown, err := prepare(command, args, environ)
	log := newLogger(cfg, stderr)
	defer log.Sync()
	for _, name := range unknown {
		log.Warn("unknown variable is ignored", zap.String("variable", screen.Printable(name)))
	}
	if err == nil {
		dns := resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)
		dns.Rounds = 1 + cfg.Confirm
		k := keeper{cfg: cfg, log: log, facts: facts, dns: dns, sidecar: command == "sidecar", probes: newProbes()}
		err = k.run(ctx)
	}
	code := exitCode(err)
	if err != nil {
		log.Error("not published", zap.String("reason", screen.Printable(err.Error())), zap.Int("exit", code))
		if err := writeTerminationLog(cfg.Root, err); err != nil {
			log.Warn("the reason is in this log only", zap.String("because", screen.Printable(err.Error())))
		}
	}
	return code
}

// keeper publishes what a walk proves, and, in a sidecar, keeps it.
type keeper struct {
	cfg     config
	log     *zap.Logger
	facts   identity.Facts
	dns     identity.Resolver
	sidecar bool
	probes  *probes

	claim  identity.Claim
	vol    *volume.Volume
	ring   *keyring
	warned once
	// published are the addresses of what is published, be it withdrawn.
	published []netip.Addr
	// generation holds them; it has no file where an earlier process published.
	generation identity.Generation
	stands     bool // it is published, and not withdrawn
}

// run is the path from what was seen: claim, verify until DNS agrees, render,
// publish.
func (k *keeper) run(ctx context.Context) (err error) {
	timeout := time.Duration(k.cfg.Timeout)
	if k.sidecar {
		timeout = 0
		end, err := k.probes.serve(k.cfg.Listen, k.facts.HostNetwork)
		if err != nil {
			return err
		}
		defer end()
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if k.claim, err = k.facts.Claim(k.cfg.policy()); err != nil {
		return err
	}
	if k.sidecar && k.cfg.Withdraw && k.claim.Zone().IsZero() {
		return configError{errors.New("PODFQDN_WITHDRAW=true needs to know whether DNS knows the cluster, whose domain is to be found nowhere: set PODFQDN_CLUSTER_DOMAIN, usually cluster.local")}
	}
	if k.ring, err = k.newKeyring(); err != nil {
		return err
	}
	defer k.close()
	if err := k.open(ctx); err != nil {
		if errors.As(err, new(interrupted)) || errors.As(err, new(*identity.Refusal)) {
			return err
		}
		return volumeError{err}
	}
	walk := identity.Walk{Claim: k.claim, Resolver: k.dns, Policy: k.cfg.policy()}
	fields := []zap.Field{
		zap.Stringer("fqdn", k.claim.Name()),
		zap.Stringers("ips", k.claim.Addrs()),
		zap.Stringers("nameservers", k.facts.Nameservers),
	}
	if k.ring != nil {
		walk.Require = k.ring.require
		fields = append(fields, zap.Stringers("principals", k.ring.keys.Principals()))
	}
	if k.sidecar {
		walk.Every, walk.Grace, walk.Agreed = time.Duration(k.cfg.Interval), time.Duration(k.cfg.Grace), k.stands
	}
	k.log.Info("waiting for forward and reverse DNS to agree", fields...)
	return k.follow(ctx, walk, timeout)
}

// open takes the volumes, before the first question to DNS: what another Pod or
// an earlier sandbox left must not be read any more. A sidecar that was started
// again goes on where it was.
func (k *keeper) open(ctx context.Context) (err error) {
	if k.vol, err = volume.Open(ctx, k.cfg.Dir, identity.Files(), k.claim.Keeps); err != nil {
		return err
	}
	if err := k.vol.Dropped(); err != nil {
		k.log.Warn("an earlier identity was removed", zap.String("because", screen.Printable(err.Error())))
	}
	files, verified, err := volume.Read(k.cfg.Dir)
	if err != nil {
		return err
	}
	if k.ring != nil {
		if err := k.ring.open(ctx, len(files) > 0, k.vol.Withdraw); err != nil {
			return err
		}
		if !k.ring.stands { // there were none, or they were torn
			verified = false
			if err := k.vol.Withdraw(); err != nil {
				return err
			}
		}
	}
	if verified && k.sidecar {
		k.published, k.stands = identity.Published(files), true
		k.probes.set(true)
	}
	return nil
}

// close lets other writers in.
func (k *keeper) close() {
	if k.vol != nil {
		_ = k.vol.Close()
	}
	k.ring.close()
}

// follow follows the walk to its end.
func (k *keeper) follow(ctx context.Context, walk identity.Walk, timeout time.Duration) error {
	start := time.Now()
	end := gaveUp{after: timeout, claim: k.claim, servers: k.facts.Nameservers}
	tell := narrator{log: k.log, why: explainer{walk: walk, facts: k.facts}, agreed: walk.Agreed}
	agreed := walk.Agreed
	for turn := range walk.Turns(ctx) {
		tell.stands = k.stands
		tell.turn(ctx, turn)
		k.probes.turn(turn)
		if turn.Err == nil {
			if err := k.publish(turn); err != nil && !agreed {
				return err
			}
			agreed = true
			continue
		}
		if !errors.As(turn.Err, &end.last) {
			return turn.Err
		}
		end.hint = tell.why.cause(turn, end.last)
		if end.last.Verdict != identity.Unanswered {
			end.said = end.last
		}
		if turn.Lost && k.cfg.Withdraw {
			k.withdraw(turn)
		}
	}
	if agreed {
		if k.sidecar {
			k.log.Info("ended", zap.NamedError("by", context.Cause(ctx)), zap.Bool("verified", k.stands))
		}
		return nil
	}
	if signal, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
		end.cause, end.after = signal, time.Since(start)
	}
	return &end
}

// publish puts what was proven into the volume, or sees that it is there.
func (k *keeper) publish(turn identity.Turn) error {
	for _, f := range turn.Report.Tolerated() {
		k.warn("tolerated", f.String())
	}
	// Before the name, which is the start signal for both.
	if err := k.ring.publish(turn); err != nil {
		return k.failed(err)
	}
	proven := turn.Agreement.Addrs()
	generation, err := identity.Render(turn.Agreement, k.ring.environment()...)
	if err != nil {
		return err
	}
	// An address that was proven once stays this Pod's, whatever DNS leaves out
	// later.
	for _, addr := range k.published {
		if slices.Contains(proven, addr) {
			continue
		}
		k.warn("what is published stays", fmt.Sprintf("DNS does not give the name %s any more", addr))
		if len(k.generation.Files()) > 0 {
			proven, generation = k.published, k.generation
		} else if k.stands {
			return nil // as an earlier process wrote it
		}
		break
	}
	changed, err := k.vol.Publish(generation)
	if err != nil {
		return k.failed(err)
	}
	k.generation, k.published = generation, proven
	if k.stands && !changed {
		return nil // as before
	}
	k.stands = true
	k.probes.set(true)
	k.log.Info("published",
		zap.Stringer("fqdn", turn.Agreement.Name()),
		zap.Stringers("ips", proven),
		zap.String("dir", screen.Printable(k.cfg.Dir)),
		zap.Duration("waited", turn.Waited),
		zap.Bool("changed", changed))
	if missing := k.claim.Unproven(proven); len(missing) > 0 {
		k.log.Info("not published: DNS does not give the name these addresses", zap.Stringers("ips", missing))
	}
	return nil
}

// withdraw takes the start signal and readiness away.
func (k *keeper) withdraw(turn identity.Turn) {
	if !k.stands {
		return
	}
	if err := k.vol.Withdraw(); err != nil {
		_ = k.failed(err)
		return
	}
	k.stands = false
	k.probes.set(false)
	k.log.Warn("withdrawn", zap.String("reason", screen.Printable(turn.Err.Error())), zap.Duration("grace", time.Duration(k.cfg.Grace)))
}

// failed tells that a volume could not be written.
func (k *keeper) failed(err error) error {
	k.probes.volumeFailed(err)
	k.warn("the volume is not as it should be", err.Error())
	return volumeError{err}
}

// warn warns of the same thing once.
func (k *keeper) warn(msg, what string) {
	if k.warned.first(msg + what) {
		k.log.Warn(msg, zap.String("what", screen.Printable(what)))
	}
}
