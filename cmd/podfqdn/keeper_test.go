package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

func TestAMistakeInTheVariablesLeavesTheVolumeAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, dir, agreed)
		time.Sleep(time.Second)
		first.holds(true)
		first.end()
		// What the variables say of another name is a mistake with WITHDRAW.
		facts := first.k.facts
		facts.FQDN, facts.ClusterDomain = identity.Fact{Value: "db-0.example.org", From: "PODFQDN_FQDN"}, identity.Fact{}
		cfg := first.k.cfg
		cfg.Withdraw = true
		second := keeper{cfg: cfg, log: first.k.log, facts: facts, dns: first.k.dns, sidecar: true, probes: newProbes()}
		err := second.run(t.Context())
		if exitCode(err) != exitRefused || !strings.Contains(err.Error(), "PODFQDN_CLUSTER_DOMAIN") {
			t.Errorf("ended with %v", err)
		}
		if _, verified, err := volume.Read(dir); !verified || err != nil {
			t.Errorf("what was published does not stand any more: %v", err)
		}
	})
}
