package herd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/crowd"
	"github.com/podfqdn/podfqdn/integration/dnstest"
	"github.com/podfqdn/podfqdn/integration/programs"
)

// podfqdn is built once, as it is shipped.
var podfqdn string

func TestMain(m *testing.M) {
	os.Exit(programs.Main(m, func(dir string) error {
		podfqdn = filepath.Join(dir, "podfqdn")
		return programs.Product(dir, "./cmd/podfqdn")
	}))
}

func TestASmallHerdPublishesItsNamesAndAsksNoMoreThanItMay(t *testing.T) {
	var r Result
	for _, test := range []struct {
		setting     Setting
		least, most float64 // questions a Pod, but for those that were sent again: a machine may be busy
	}{
		{Setting{Client: Podfqdn, Corefile: Kubeadm, Ready: true}, 8, 8},
		{Setting{Client: Podfqdn, Corefile: Kubeadm}, 9, 27},
		{Setting{Client: Walks, Corefile: Cached}, 9, 27},
	} {
		test.setting.Pods, test.setting.Share = 5, share
		// Names that are not right are failures.
		h, err := run(t.Context(), podfqdn, test.setting)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(h)
		if h.Failures != 0 || len(h.EachLate) != h.Pods {
			t.Errorf("%s: %d failures, %d published: %q", h.Setting, h.Failures, len(h.EachLate), h.Reasons)
		}
		if asked := float64(h.Questions-h.Repeated) / float64(h.Pods); asked < test.least || asked > test.most {
			t.Errorf("%s: %v questions a Pod, not %v to %v", h.Setting, asked, test.least, test.most)
		}
		// A sibling's name is nobody's.
		if h.MostPerPod+3 < int(h.PerPod) || h.MostPerPod > h.Questions-4*int(test.least) {
			t.Errorf("%s: %d questions of one Pod, %v of the mean", h.Setting, h.MostPerPod, h.PerPod)
		}
		if h.Unanswered != 0 || h.Lost != 0 {
			t.Errorf("%s: %d questions without an answer, %d answers lost", h.Setting, h.Unanswered, h.Lost)
		}
		r.Herds = append(r.Herds, h)
	}
	if text := r.Markdown(); !strings.Contains(text, "| podfqdn | kubeadm | none | 5 |") {
		t.Errorf("the table is\n%s", text)
	}
}

func TestASmallSetGathersAndAsksNoMoreThanItMay(t *testing.T) {
	var p Peers
	for _, s := range []Set{
		{Client: Podfqdn, Members: 3, Wait: "all", Share: share, Last: spread},
		{Client: Walks, Members: 3, Wait: "majority", Share: share, Last: spread},
		{Client: Podfqdn, Members: 200, Wait: "majority", Share: share, Formed: true, List: true, Starts: 1},
	} {
		g, err := gather(t.Context(), podfqdn, s)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(g)
		most := 60.0
		if s.Formed {
			most = 2*8 + 100*3 + 4 // its own name is proven again where the peers took a second
		}
		if asked := g.Questions - g.Repeated; g.Failures != 0 || asked < 8 || asked > most {
			t.Errorf("%s: %d failures, %v questions a process, not 8 to %v: %q", s, g.Failures, asked, most, g.Reasons)
		}
		p.Gathered = append(p.Gathered, g)
	}
	if text := p.Markdown(); !strings.Contains(text, "| podfqdn | 3 | all |") || !strings.Contains(text, "| a list |") {
		t.Errorf("the tables are\n%s", text)
	}
}

func TestAClientAsksBothServers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	p, err := newPair(share)
	if err != nil {
		t.Fatal(err)
	}
	from, err := p.mark()
	if err != nil {
		t.Fatal(err)
	}
	p.ask(ctx)
	to, err := p.mark()
	if err != nil {
		t.Fatal(err)
	}
	d := p.between(from, to)
	if d.With.Median <= 0 || d.Without.Median <= 0 || d.Ratio <= 0 {
		t.Errorf("the client met %+v", d)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestEachKthAnswerIsLostAndMadeUpFor(t *testing.T) {
	h, err := run(t.Context(), podfqdn, Setting{Client: Podfqdn, Corefile: Kubeadm, Pods: 1, Share: share, LoseEach: 8, Ready: true})
	if err != nil {
		t.Fatal(err)
	}
	if h.Failures != 0 || h.Questions-h.Repeated != 8 || h.Lost != h.Questions/8 {
		t.Errorf("%d failures, %d questions, %d lost, of which the eighth was to be the first: %q", h.Failures, h.Questions, h.Lost, h.Reasons)
	}
	if h, err = run(t.Context(), podfqdn, Setting{Client: Podfqdn, Corefile: Kubeadm, Pods: 2, Share: share, LoseEach: 8, Ready: true}); err != nil {
		t.Fatal(err)
	}
	if h.Failures != 0 || h.Lost != h.Questions/8 || h.Lost == 0 {
		t.Errorf("%d failures, %d questions, %d lost: %q", h.Failures, h.Questions, h.Lost, h.Reasons)
	}
}

func TestPodsThatWaitForEverLeaveDenialsInTheCache(t *testing.T) {
	c, err := crowd.Serve(t.Context(), crowd.Order{Corefile: dnstest.Cached, Pods: 1}, share)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	w, err := newWire(c.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeA} {
		m, err := dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(crowd.Pod(0).FQDN()), qtype), w.addr().String())
		if err != nil || m.Rcode != dns.RcodeNameError {
			t.Fatalf("%v, %v before the name is visible", m, err)
		}
	}
	denials, evictions, err := c.Cache(t.Context())
	if err != nil || denials != 3 || evictions != 0 {
		t.Errorf("%d denials, %d evictions, %v, want 3 and 0", denials, evictions, err)
	}
}
