package virtual

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func TestARecordThatIsThereTakesEightPacketsOnTwoSockets(t *testing.T) {
	for _, corefile := range []string{dnstest.Kubeadm, dnstest.Cached} {
		play(t, "", func(s *stage) {
			s.corefile = corefile
			s.publish(0)
			o := s.walk()
			o.agrees(0, 0)
			if got, want := o.rounds(), []string{"PROBE SIBLING A PTR", "PROBE A AAAA PTR"}; !slices.Equal(got, want) {
				t.Errorf("asked %q, not %q", got, want)
			}
			if o.packets[0].port == o.packets[4].port {
				t.Error("both rounds have one client port")
			}
		})
	}
}

func TestARecordThatIsThereInBothFamiliesTakesElevenPackets(t *testing.T) {
	for _, families := range []identity.Families{identity.FamiliesAuto, identity.FamiliesAll} {
		play(t, families.String(), func(s *stage) {
			s.ips, s.policy.Families = []string{ip, ip6}, families
			s.publish(0)
			o := s.walk()
			o.agrees(0, 0)
			if got, want := o.rounds(), []string{"PROBE SIBLING A AAAA PTR PTR", "PROBE A AAAA PTR PTR"}; !slices.Equal(got, want) {
				t.Errorf("asked %q, not %q", got, want)
			}
			if got := len(o.agreed.Addrs()); got != 2 {
				t.Errorf("%d addresses proven", got)
			}
		})
	}
}

func TestConfirmingRoundsEachHaveASocket(t *testing.T) {
	for confirm, want := range map[int][]string{
		0: {"PROBE SIBLING A AAAA PTR"},
		2: {"PROBE SIBLING A PTR", "PROBE A PTR", "PROBE A AAAA PTR"},
	} {
		play(t, fmt.Sprint(confirm), func(s *stage) {
			s.policy.Rounds = identity.Rounds(1 + confirm)
			s.publish(0)
			o := s.walk()
			o.agrees(0, 0)
			if got := o.rounds(); !slices.Equal(got, want) {
				t.Errorf("asked %q, not %q", got, want)
			}
		})
	}
}

func TestAnIPv6PodIsProvenByItsOwnFamily(t *testing.T) {
	play(t, "", func(s *stage) {
		s.ips = []string{ip6}
		s.publish(100 * time.Millisecond)
		o := s.walk()
		o.agrees(100*time.Millisecond, 160*time.Millisecond)
		rounds := o.rounds()
		if got, want := rounds[len(rounds)-1], "A AAAA PTR"; got[len(got)-len(want):] != want {
			t.Errorf("the last round asked %q", got)
		}
	})
}

// corefiles are the ways in which clusters cache. share is the part of a wait that a record may be seen late: where a
// denial is kept for two minutes the probe types have to last longer.
var corefiles = []struct {
	name, text string
	node       bool
	share      int
}{
	{"kubeadm", dnstest.Kubeadm, false, 4},
	{"cache 30", dnstest.Cached, false, 4},
	{"ttl 5, cache 30", corefile(5, 30), false, 4},
	{"ttl 120, cache 120", corefile(120, 120), false, 3},
	{"kubeadm behind a node cache", dnstest.Kubeadm, true, 4},
	{"cache 30 behind a node cache", dnstest.Cached, true, 4},
}

func corefile(ttl, cache int) string {
	return fmt.Sprintf(`.:53 {
		kubernetes cluster.local in-addr.arpa ip6.arpa {
			pods insecure
			fallthrough in-addr.arpa ip6.arpa
			ttl %d
		}
		forward . /etc/resolv.conf
		cache %d
	}`, ttl, cache)
}

func TestALateRecordIsSeenInProportionToTheWait(t *testing.T) {
	for _, c := range corefiles {
		for _, late := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 2 * time.Second, 10 * time.Second, 40 * time.Second, 5 * time.Minute} {
			t.Run(fmt.Sprint(c.name, " ", late), func(t *testing.T) {
				t.Parallel()
				var worst time.Duration
				var most int
				for range 5 { // for the jitter
					synctest.Test(t, func(t *testing.T) {
						s := newStage(t)
						s.corefile, s.node = c.text, c.node
						s.publish(late)
						o := s.walk()
						o.agrees(late, late+share(c.share, late))
						if late > 2*time.Minute {
							o.agrees(late, late+5*time.Second)
						}
						o.saw(identity.Missing, identity.Agrees)
						worst, most = max(worst, o.at-late), max(most, len(o.packets))
						if late == 2*time.Second && len(o.packets) > 27 { // of which two are about siblings
							t.Errorf("%d packets for a wait of 2s", len(o.packets))
						}
						for _, p := range o.packets[:len(o.packets)-8] {
							if !p.private() {
								t.Errorf("a plain question before the record: %v", p)
							}
						}
					})
				}
				t.Logf("lateness %v (%.0f%%), %d packets", worst.Round(time.Millisecond), 100*float64(worst)/float64(late), most)
			})
		}
	}
}

func TestProbeTypesAreKeptForTheConfirmingRounds(t *testing.T) {
	for _, confirm := range []int{1, 3} {
		for _, ms := range []time.Duration{22900, 25000, 40000, 53600, 56000, 58000, 61000} {
			late := ms * time.Millisecond
			play(t, fmt.Sprint(confirm, " ", late), func(s *stage) {
				s.policy.Rounds = identity.Rounds(1 + confirm)
				s.publish(late)
				o := s.walk()
				o.agrees(late, late+6*time.Second)
				t.Logf("lateness %v", (o.at - late).Round(time.Millisecond))
				for _, turn := range o.turns {
					var m *identity.Mismatch
					if errors.As(turn.Err, &m) && m.Is == identity.Unasked {
						t.Errorf("a proof that had begun found no probe type after %v", turn.Waited)
					}
				}
				if n := o.asked(dns.TypeA); n != 1+confirm {
					t.Errorf("A was asked %d times\n%s", n, o.story())
				}
			})
		}
	}
}

// bound is how late a record that comes after a wait may be seen.
func bound(wait time.Duration) time.Duration { return share(4, wait) }

func share(n int, wait time.Duration) time.Duration {
	return 30*time.Millisecond + wait/time.Duration(n)
}
