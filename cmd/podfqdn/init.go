package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// runInit walks the path once and leaves its reason where people look first:
// the log, and the Pod's status by way of the termination log.
func runInit(ctx context.Context, args, environ []string, stderr io.Writer) int {
	cfg, facts, unknown, err := prepare("init", args, environ)
	log := newLogger(cfg, stderr)
	defer log.Sync()
	for _, name := range unknown {
		log.Warn("unknown variable is ignored", zap.String("variable", printable(name)))
	}
	if err == nil {
		err = publish(ctx, cfg, facts, log)
	}
	code := exitCode(err)
	if err != nil {
		log.Error("not published", zap.String("reason", printable(err.Error())), zap.Int("exit", code))
		if err := writeTerminationLog(cfg.Root, err); err != nil {
			log.Warn("the reason is in this log only", zap.String("because", printable(err.Error())))
		}
	}
	return code
}

// publish is the path from what was seen: claim, verify until DNS agrees,
// render, publish.
func publish(ctx context.Context, cfg config, facts identity.Facts, log *zap.Logger) error {
	if cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.Timeout))
		defer cancel()
	}
	claim, err := facts.Claim(cfg.policy())
	if err != nil {
		return err
	}
	// Before the first question to DNS: what another Pod or an earlier sandbox
	// left must not be read any more.
	vol, err := volume.Open(cfg.Dir, identity.Files(), claim.Keeps)
	if err != nil {
		return volumeError{err}
	}
	defer vol.Close()
	if err := vol.Dropped(); err != nil {
		log.Warn("an earlier identity was removed", zap.String("because", printable(err.Error())))
	}
	log.Info("waiting for forward and reverse DNS to agree",
		zap.Stringer("fqdn", claim.Name()),
		zap.Stringers("ips", claim.Addrs()),
		zap.Stringers("nameservers", facts.Nameservers))

	dns := resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)
	dns.Rounds = 1 + cfg.Confirm
	walk := identity.Walk{Claim: claim, Resolver: dns, Policy: cfg.policy()}
	turn, err := prove(ctx, walk, cfg, facts.Nameservers, narrator{log: log, claim: claim})
	if err != nil {
		return err
	}
	for _, f := range turn.Report.Tolerated() {
		log.Warn("tolerated", zap.Stringer("what", f))
	}
	generation, err := identity.Render(turn.Agreement)
	if err != nil {
		return err
	}
	changed, err := vol.Publish(generation)
	if err != nil {
		return volumeError{err}
	}
	log.Info("published",
		zap.Stringer("fqdn", turn.Agreement.Name()),
		zap.Stringers("ips", turn.Agreement.Addrs()),
		zap.String("dir", printable(cfg.Dir)),
		zap.Duration("waited", turn.Waited),
		zap.Bool("changed", changed))
	if missing := claim.Unproven(turn.Agreement.Addrs()); len(missing) > 0 {
		log.Info("not published: DNS does not give the name these addresses", zap.Stringers("ips", missing))
	}
	return nil
}

// prove waits for the first agreement.
func prove(ctx context.Context, walk identity.Walk, cfg config, servers []netip.AddrPort, tell narrator) (identity.Turn, error) {
	start := time.Now()
	end := gaveUp{after: time.Duration(cfg.Timeout), claim: walk.Claim, servers: servers}
	for turn := range walk.Turns(ctx) {
		tell.turn(turn)
		if !errors.As(turn.Err, &end.last) {
			return turn, turn.Err
		}
		if end.last.Verdict != identity.Unanswered {
			end.said = end.last
		}
	}
	var signal interrupted
	if errors.As(context.Cause(ctx), &signal) {
		end.cause, end.after = signal, time.Since(start)
	}
	return identity.Turn{}, &end
}

// gaveUp is the end of the wait, with its last reason.
type gaveUp struct {
	cause   error // interrupted, or nil for the deadline
	after   time.Duration
	last    *identity.Mismatch // nil if no answer came at all
	said    *identity.Mismatch // the last that says anything about the name; or nil
	claim   identity.Claim
	servers []netip.AddrPort
}

func (g *gaveUp) Error() string {
	what := fmt.Sprintf("gave up after %s", g.after)
	if g.cause != nil {
		what = fmt.Sprintf("ended by %s after %s", g.cause, g.after.Round(10*time.Millisecond))
	}
	if g.last == nil {
		return fmt.Sprintf("%s: %s: no answer yet from %s", what, g.claim.Name(), identity.Enumerate(g.servers))
	}
	what = fmt.Sprintf("%s: %s; %s", what, g.last, hint(g.last, g.claim))
	if g.said != nil && g.said != g.last {
		what += fmt.Sprintf("; before that: %s", g.said)
	}
	return what
}

func (g *gaveUp) Unwrap() error { return g.cause }

// narrator tells of a wait: a new reason at once, the same again at growing
// intervals, with a hint once it has lasted or where a cache will make it last.
type narrator struct {
	log   *zap.Logger
	claim identity.Claim
	told  []string // reasons, since the last repetition
	next  time.Duration
}

// hintAfter is how long a reason usually lasts when nothing is wrong.
const hintAfter = 3 * time.Second

func (n *narrator) turn(t identity.Turn) {
	for _, f := range t.Report {
		fields := []zap.Field{zap.Stringer("kind", f.Kind), zap.Stringer("server", f.Server),
			zap.Stringer("finding", f), zap.String("verdict", string(f.Verdict)), zap.Duration("again", f.Again)}
		if f.Key != "" {
			fields = append(fields, zap.String("key", f.Key))
		}
		n.log.Debug("asked", fields...)
	}
	var m *identity.Mismatch
	if !errors.As(t.Err, &m) {
		return
	}
	reason := m.Error()
	again := t.Waited >= n.next
	if !again && slices.Contains(n.told, reason) {
		return
	}
	if again {
		n.told = nil
		n.next = max(hintAfter, 2*t.Waited)
	}
	n.told = append(n.told, reason)
	fields := []zap.Field{zap.String("reason", reason), zap.Duration("waited", t.Waited)}
	if t.Waited+m.Again() >= hintAfter { // or is known to last
		fields = append(fields, zap.String("hint", hint(m, n.claim)))
	}
	n.log.Info("not yet", fields...)
}

// maxTermination is how much of a termination log the kubelet reads, in bytes.
const maxTermination = 4096

// writeTerminationLog leaves the reason in the Pod's status. The kubelet makes
// the file (kuberuntime_container.go, terminationMessagePath); where there is
// none, as outside a Pod, none is made.
func writeTerminationLog(root string, reason error) error {
	file, err := os.OpenFile(filepath.Join(root, "dev/termination-log"), os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := printable(reason.Error())
	_, err = io.WriteString(file, text[:min(len(text), maxTermination)])
	return errors.Join(err, file.Close())
}

// interfaceAddrs gives the addresses of the network interfaces.
func interfaceAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if ipNet, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(ipNet.IP); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}
