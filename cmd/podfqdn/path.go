package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/cmd/internal/build"
	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/health"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/render"
	"github.com/podfqdn/podfqdn/identity/resolver"
)

// runPath walks the path: to the first agreement for "init" and "exec", and on from
// there for "sidecar". "exec" becomes the application then, and does not return. It
// leaves its reason where people look first: the log, and the Pod's status by way
// of the termination log.
func runPath(ctx context.Context, command string, args, environ []string, stderr io.Writer) int {
	p := path{stderr: stderr}
	failed := "not published"
	err := p.run(ctx, command, args, environ)
	if err == nil && p.app != nil {
		failed, err = "not executed", p.become(ctx)
	}
	defer p.log.Sync()
	code := exitCode(err)
	if command == "exec" && code == exitSignal+int(syscall.SIGTERM) {
		err = fmt.Errorf("%w; if nobody has stopped this Pod, a livenessProbe without a startupProbe has", err)
	}
	if err != nil {
		p.log.Error(failed, zap.String("reason", err.Error()), zap.Int("exit", code))
		if command == "exec" { // whose container is the application's
			err = fmt.Errorf("podfqdn: %w", err)
		}
		if err := writeTerminationLog(p.cfg.Root, err); err != nil {
			p.log.Warn("the reason is in this log only", zap.String("because", err.Error()))
		}
	}
	return code
}

// path is podfqdn on its way from what it sees in its Pod to what it publishes
// there.
type path struct {
	stderr io.Writer
	dns    identity.Resolver // nil: the nameservers of the Pod
	extra  []kind            // for tests: needs that the variables do not ask for

	sidecar bool
	app     *application // of "exec"; nil
	afresh  bool         // rendered files are rendered again, from what their source says now
	cfg     config
	log     *zap.Logger
	warned  once
	claim   identity.Claim
	name    outlet  // the identity, whose start signal is that of the application
	needs   []*need // what has to be there before it
	health  *health.Health

	// What is published, as far as this process knows, even if withdrawn since: the
	// addresses, and the files, unless an earlier process wrote them.
	standing   []netip.Addr
	generation identity.Generation
}

// run is the whole path: see, claim, open, walk, publish. A sidecar stays on it.
func (p *path) run(ctx context.Context, command string, args, environ []string) error {
	// See: the variables, and what the kubelet gave this Pod.
	if command == "exec" {
		if stands, err := p.recall(args, environ); stands || err != nil {
			return err
		}
		args = nil
	}
	cfg, facts, unknown, err := see(command, args, environ)
	p.cfg, p.log = cfg, newLogger(cfg, p.stderr)
	for _, name := range unknown {
		p.log.Warn("unknown variable is ignored", zap.String("variable", name))
	}
	if err != nil {
		return err
	}
	version, revision := build.Info()
	p.sidecar, p.afresh, p.health = command == "sidecar", command == "init", health.New(p.name.stands.Load, version, revision)
	began, limit := time.Now(), time.Duration(cfg.Timeout)
	if p.sidecar {
		end, err := p.health.Serve(cfg.Listen, facts.HostNetwork)
		if err != nil {
			return err
		}
		defer end()
	} else if limit > 0 {
		bound, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = bound
	}

	// Claim: who this Pod believes it is, and what it needs in addition.
	if err := p.makeClaim(facts); err != nil {
		return err
	}
	if err := p.makeNeeds(); err != nil {
		return err
	}
	if p.app != nil {
		if err := p.app.fits(); err != nil {
			return err
		}
	}

	// Open: what another Pod or an earlier sandbox left is removed before the first
	// question to DNS. A sidecar that was started again goes on.
	defer p.close()
	if err := p.open(ctx); err != nil {
		return volumeError(err)
	}
	for _, n := range p.needs {
		p.health.Tell(n.Name, n.Gauges)
	}
	if p.app != nil {
		if ready, err := p.ready(); ready || err != nil {
			return err
		}
	}

	if err := p.install(ctx); err != nil {
		return err
	}

	// Walk and publish.
	return p.walk(ctx, facts, began)
}

// walk verifies until DNS agrees, and publishes what was proven. A sidecar goes on.
func (p *path) walk(ctx context.Context, facts identity.Facts, began time.Time) error {
	if p.dns == nil {
		p.dns = resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)
	}
	ends, _ := ctx.Deadline()
	tell := narrator{ends: ends, log: p.log, facts: facts, claim: p.claim, dns: p.dns, stands: p.name.stands.Load}
	defer tell.quiet()
	walk := identity.Walk{Claim: p.claim, Resolver: p.dns, Agreed: p.name.stands.Load(), Witnesses: tell.witnesses}
	if p.sidecar {
		walk.Every, walk.Grace = time.Duration(p.cfg.Interval), time.Duration(p.cfg.Grace)
	}
	for _, n := range p.needs {
		walk.Require = append(walk.Require, n.require)
	}
	p.log.Info("waiting for forward and reverse DNS to agree", p.waitsFor(facts)...)
	agreed := walk.Agreed
	for turn := range walk.Turns(ctx) {
		tell.turn(turn)
		p.health.Turn(turn)
		if turn.Err == nil {
			// Publish: what was proven, whole.
			if err := p.publish(turn); err != nil && !turn.Agreed {
				return err // a sidecar that has agreed before has warned of it, and goes on
			}
			agreed = true
		} else if !errors.As(turn.Err, new(*identity.Mismatch)) {
			return turn.Err // never
		} else if turn.Lost && p.cfg.Withdraw {
			p.withdraw(turn)
		}
	}
	if !agreed {
		return tell.end(context.Cause(ctx), time.Duration(p.cfg.Timeout), time.Since(began))
	}
	if p.sidecar {
		p.log.Info("ended", zap.NamedError("by", context.Cause(ctx)), zap.Bool("verified", p.name.stands.Load()))
	}
	return nil
}

// makeClaim makes the claim of the facts.
func (p *path) makeClaim(facts identity.Facts) (err error) {
	if p.claim, err = facts.Claim(p.cfg.Policy); err != nil {
		return err
	}
	if p.sidecar && p.cfg.Withdraw && p.claim.Zone().IsZero() {
		return misconfigured("PODFQDN_WITHDRAW=true needs the cluster domain, which podfqdn cannot find", "set PODFQDN_CLUSTER_DOMAIN, usually cluster.local")
	}
	if p.app != nil {
		return p.available()
	}
	return nil
}

// waitsFor returns what is waited for, for the log.
func (p *path) waitsFor(facts identity.Facts) []zap.Field {
	fields := []zap.Field{zap.Stringer("fqdn", p.claim.Name()), zap.Stringers("ips", p.claim.Addrs()), zap.Stringers("nameservers", facts.Nameservers)}
	for _, n := range p.needs {
		fields = append(fields, n.wants()...)
	}
	return fields
}

// kind is a kind of Requirement. It makes what a claim needs, nil for nothing; the
// directory is the one that everybody reads. variables are the names of the lines
// that it may add to identity.env.
type kind struct {
	make      func(identity.Claim, string) (*identity.Requirement, error)
	variables []string
}

// kinds lists what a Pod may need in addition to its name, in the order in which it
// is asked for: what is asked over the network last.
func (c config) kinds() []kind {
	return []kind{
		{c.TLS.Requirement, nil},
		{c.Kerberos.Requirement, kerberos.Variables()},
		{c.Peers.Requirement, peers.Variables()},
	}
}

// requiredVariables lists those of all kinds.
func requiredVariables() (names []string) {
	for _, k := range (config{}).kinds() {
		names = append(names, k.variables...)
	}
	return names
}

// requirements makes what a claim needs, of each kind. It reads no source.
func (p *path) requirements(claim identity.Claim) (all []*identity.Requirement, err error) {
	for _, k := range append(p.cfg.kinds(), p.extra...) {
		r, err := k.make(claim, p.cfg.Dir)
		if err != nil {
			return nil, err
		}
		if r != nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// makeNeeds makes what the claim needs. Where it is secret, this process hides its
// memory from now on.
func (p *path) makeNeeds() error {
	all, err := p.requirements(p.claim)
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.Secret {
			if err := hideMemory(); err != nil {
				return err
			}
		}
		p.needs = append(p.needs, newNeed(p, r))
	}
	if p.app != nil {
		p.app.required = all
	}
	// Last, as it shows what all the others add to identity.env.
	rendered, err := p.cfg.Render.Requirements(p.claim, p.others(all))
	for _, r := range rendered {
		p.needs = append(p.needs, newNeed(p, r))
	}
	return err
}

// others returns what is published in addition to what is rendered.
func (p *path) others(required []*identity.Requirement) render.Others {
	o := render.Others{Dirs: []string{p.cfg.Dir}, Variables: requiredVariables(), Additions: additions(required)}
	if p.cfg.Install != "" {
		o.Dirs = append(o.Dirs, p.cfg.Install)
	}
	for _, r := range required {
		if r.Outlet.Dir != "" {
			o.Dirs = append(o.Dirs, r.Outlet.Dir)
		}
	}
	return o
}

// additions returns what is added to the identity.
func additions(required []*identity.Requirement) (all []identity.Addition) {
	for _, r := range required {
		all = append(all, r.Addition)
	}
	return all
}

// additions returns what is published with the name. A line of another container's
// that stays comes first, as that of the peers may be long.
func (p *path) additions() (all []identity.Addition) {
	if p.app != nil {
		all = append(all, p.app.kept)
	}
	for _, n := range p.needs {
		all = append(all, n.Addition)
	}
	return all
}

// open takes the volumes. If something that the name needs does not stand, the name
// does not stand either.
func (p *path) open(ctx context.Context) error {
	names := identity.Files()
	if p.app != nil {
		names = append(names, identity.FilePeers) // which another container may have published
	}
	for _, add := range p.additions() {
		for _, f := range add.Files {
			names = append(names, f.Name)
		}
	}
	p.name.Outlet = identity.Outlet{Dir: p.cfg.Dir, Names: names,
		Keeps:     func(files []identity.File) error { _, err := p.claim.Keeps(files); return err },
		Published: p.published,
	}
	take := p.name.open
	if p.app != nil {
		take = p.await
	}
	if err := take(ctx, p.name.Keeps); err != nil || p.name.vol == nil {
		return err
	}
	stands := p.name.stands.Swap(false) // nobody is ready before its needs were checked
	if err := p.name.dropped(); err != nil {
		p.log.Warn("an earlier identity was removed", zap.String("because", err.Error()))
	}
	for _, n := range p.needs {
		if n.Dir == "" {
			continue
		}
		if n.Signal != "" { // a container's own layer is lost with that, and no other has it
			if err := mounted(os.DirFS(p.cfg.Root), n.Dir, "config"); err != nil {
				return fmt.Errorf("%s: %w", n.From, err)
			}
		}
		keeps := n.Keeps
		if len(p.standing) == 0 {
			keeps = func([]identity.File) error { return errors.New("no identity is published next to it") }
		}
		// First the signal goes, then the files that it speaks for.
		if _, refused := n.check(keeps); refused != nil {
			stands = false
			if err := p.name.withdraw(); err != nil {
				return err
			}
		}
		if err := n.open(ctx, keeps); err != nil {
			return err
		}
		if !n.stands.Load() { // nothing stands there, or it could not be read whole
			stands = false
			if err := p.name.withdraw(); err != nil {
				return err
			}
		}
		if err := n.dropped(); err != nil {
			p.warn("earlier "+n.Name+" were removed", err.Error())
		}
		if err := n.onDisk(); err != nil {
			return err
		}
		if err := n.prepare(); err != nil {
			return err
		}
	}
	// An init container proves and publishes again.
	p.name.stands.Store(stands && (p.sidecar || p.app != nil && p.app.complete()))
	for _, n := range p.needs {
		if n.Dir == "" { // what was met when the name was published, which may be without it
			n.stands.Store(p.name.stands.Load() && n.has)
		}
	}
	if !p.name.stands.Load() {
		p.standing = nil
	}
	return nil
}

// published updates what is known of the published files.
func (p *path) published(files []identity.File) {
	p.standing, _ = p.claim.Keeps(files)
	for _, n := range p.needs {
		n.has = n.Lacks(files) == ""
	}
	if p.app != nil {
		p.app.take(files)
	}
}

// close lets other writers in.
func (p *path) close() {
	p.name.close()
	for _, n := range p.needs {
		n.close()
	}
}

// publish puts what was proven into the volumes, or checks that it is there:
// what the name needs first, as the name is the start signal for all.
func (p *path) publish(turn identity.Turn) error {
	for _, f := range turn.Report.Tolerated() {
		p.warn("tolerated", f.String())
	}
	for _, g := range turn.Required {
		defer g.Clear()
	}
	for i, n := range p.needs {
		if err := n.publish(turn.Required[i]); err != nil {
			return p.failed(err)
		}
	}
	proven := turn.Agreement.Addrs()
	generation, err := identity.Render(turn.Agreement, p.additions()...)
	if err != nil {
		return err
	}
	// An address that was proven once stays this Pod's, whatever DNS leaves out
	// later; but what an earlier process wrote cannot be published again.
	stays := len(p.generation.Files()) > 0
	lacks := slices.IndexFunc(p.standing, func(a netip.Addr) bool { return !slices.Contains(proven, a) })
	if lacks >= 0 && (stays || p.name.stands.Load()) {
		p.warn("what is published stays", fmt.Sprintf("DNS no longer returns %s for the name", p.standing[lacks]))
		if !stays {
			return nil
		}
		proven, generation = p.standing, p.generation
	}
	stood := p.name.stands.Load()
	changed, err := p.name.publish(generation)
	if err != nil {
		return p.failed(err)
	}
	p.generation = generation
	if stood && !changed {
		return nil // as before
	}
	p.log.Info("published",
		zap.Stringer("fqdn", turn.Agreement.Name()),
		zap.Stringers("ips", proven),
		zap.String("dir", p.cfg.Dir),
		zap.Duration("waited", turn.Waited),
		zap.Bool("changed", changed))
	if missing := p.claim.Unproven(proven); len(missing) > 0 {
		p.log.Info("published without the Pod's other addresses, which DNS does not return for the name", zap.Stringers("ips", missing))
	}
	return nil
}

// withdraw removes the start signal and readiness.
func (p *path) withdraw(turn identity.Turn) {
	if !p.name.stands.Load() {
		return
	}
	if err := p.name.withdraw(); err != nil {
		_ = p.failed(err)
		return
	}
	p.health.Withdrew()
	p.log.Warn("withdrawn", zap.String("reason", turn.Err.Error()), zap.Duration("grace", time.Duration(p.cfg.Grace)))
}

// failed reports that a volume could not be written.
func (p *path) failed(err error) error {
	p.health.VolumeFailed(err)
	p.warn("cannot update the volume", err.Error())
	return volumeError(err)
}

// warn warns of the same thing once.
func (p *path) warn(msg, what string) {
	if p.warned.first(msg + what) {
		p.log.Warn(msg, zap.String("what", what))
	}
}
