package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/resolver"
)

// runWait waits until names are in DNS. It needs no name of its own and no volume,
// and publishes nothing.
func runWait(ctx context.Context, args, environ []string, stderr io.Writer) int {
	cfg, facts, unknown, err := see("wait", nil, environ)
	log := newLogger(cfg, stderr)
	defer log.Sync()
	for _, name := range unknown {
		log.Warn("unknown variable is ignored", zap.String("variable", name))
	}
	if err == nil {
		err = waitFor(ctx, cfg, facts, args, log)
	}
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	log.Error("not found", zap.String("reason", err.Error()), zap.Int("exit", code))
	if err := writeTerminationLog(cfg.Root, err); err != nil {
		log.Warn("the reason is in this log only", zap.String("because", err.Error()))
	}
	return code
}

// waitFor waits for the names in args.
func waitFor(ctx context.Context, cfg config, facts identity.Facts, args []string, log *zap.Logger) error {
	names, enough, err := waitArgs(args)
	if err != nil {
		return err
	}
	zone, err := facts.Zone()
	if err != nil {
		return err
	}
	roll, err := peers.Named(names, enough, zone, facts.ResolvConf.Search, cfg.Reverse)
	if err != nil {
		return err
	}
	limit := time.Duration(cfg.Timeout)
	if limit > 0 {
		bound, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = bound
	}
	dns := resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)
	began, next := time.Now(), time.Duration(0)
	var told once
	log.Info("waiting for names in DNS", zap.Strings("names", roll.Written()), zap.Stringers("nameservers", facts.Nameservers))
	var last *peers.Missing
	for {
		err := roll.Look(ctx, dns)
		waited := time.Since(began)
		m, ok := errors.AsType[*peers.Missing](err)
		switch {
		case err == nil:
			log.Info("found", zap.Int("names", roll.There()), zap.Duration("waited", waited))
			return nil
		case !ok:
			return ended(context.Cause(ctx), last, limit, waited)
		}
		if last = m; waited >= next {
			told, next = nil, following(waited)
		}
		if told.first(m.Topic) {
			level := zap.InfoLevel
			fields := []zap.Field{zap.String("reason", m.Error()), zap.Duration("waited", waited)}
			if reason, ok := errors.AsType[*identity.Mismatch](m.Unwrap()); ok && reason.Verdict == identity.Missing && waited >= hintAfter {
				fields = append(fields, zap.String("hint", "check that the Service exists and, if it is headless, that it has a ready Pod or publishNotReadyAddresses: true"))
			}
			if end, ok := ctx.Deadline(); ok && waited >= warnAfter {
				level, fields = zap.WarnLevel, append(fields, zap.String("gives_up", end.UTC().Format(time.RFC3339)))
			}
			log.Log(level, "not yet", fields...)
		}
		select {
		case <-time.After(m.Again):
		case <-ctx.Done():
			return ended(context.Cause(ctx), last, limit, time.Since(began))
		}
	}
}

// ended returns why a wait ended without the names: by a signal, or at its limit.
func ended(cause error, last *peers.Missing, limit, waited time.Duration) error {
	code, text := exitPeerless, fmt.Sprintf("gave up after %s", limit)
	if signal, ok := errors.AsType[exit](cause); ok {
		code, text = signal.code, fmt.Sprintf("ended by %s after %s", signal, waited.Round(10*time.Millisecond))
	}
	if last == nil {
		return exit{code, fmt.Errorf("%s: no answer from DNS yet", text)}
	}
	return exit{code, fmt.Errorf("%s: %w", text, last)}
}

// waitArgs reads [--for all|majority|N] NAME...
func waitArgs(args []string) (names []string, enough peers.Wait, err error) {
	const usage = "write podfqdn wait [--for all|majority|N] NAME..."
	flags := flag.NewFlagSet("wait", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	many := flags.String("for", "all", "")
	switch err := flags.Parse(args); {
	case err != nil:
		return nil, enough, misconfigured(fmt.Sprintf("wait: %v", err), usage)
	case !slices.Contains([]string{"none", "lower", ""}, *many) && enough.UnmarshalText([]byte(*many)) == nil:
	default:
		return nil, enough, misconfigured(fmt.Sprintf("wait --for %+q", *many), "write all, majority or a number of names")
	}
	if flags.NArg() == 0 {
		return nil, enough, misconfigured("wait needs a name", usage)
	}
	for _, name := range flags.Args() {
		if strings.HasPrefix(name, "-") {
			return nil, enough, misconfigured(fmt.Sprintf("wait: %+q comes after a name", name), usage)
		}
	}
	return flags.Args(), enough, nil
}
