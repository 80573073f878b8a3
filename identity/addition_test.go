package identity_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// added returns an Addition whose line has the given number of bytes.
func added(size int) identity.Addition {
	list := strings.Repeat("a", size-len("POD_PEERS=''"))
	return identity.Addition{
		Environment: []string{"POD_PEERS='" + list + "'"}, Word: "peers all",
		Files: []identity.File{{Name: identity.FilePeers, Data: []byte(list + "\n"), Mode: 0o644}},
	}
}

func member(t *testing.T) identity.Claim {
	t.Helper()
	return podtest.Claim(podtest.Pod{Name: "zk-0", Hostname: "zk-0", Subdomain: "zk", Namespace: "default"}.Files("cluster.local", "10.244.1.7"),
		identity.Given{}, identity.Policy{})
}

func TestALineOfMoreThan32KiBIsInItsFileOnly(t *testing.T) {
	t.Parallel()
	for size, lines := range map[int]bool{32 << 10: true, 32<<10 + 1: false} {
		add := added(size)
		g, err := identity.Render(podtest.Proven(member(t)), add)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range g.Files() {
			if has := strings.Contains(string(f.Data), "POD_PEERS="); f.Name == "identity.env" && has != lines {
				t.Errorf("%d bytes: the line is there: %v", size, has)
			}
		}
		if lacks := add.Lacks(g.Files()); lacks != "" {
			t.Errorf("%d bytes: it lacks %s", size, lacks)
		}
		if add.Word = "peers majority"; add.Lacks(g.Files()) != add.Word {
			t.Errorf("another wait is not lacking")
		}
		if _, err := member(t).Keeps(g.Files()); err != nil {
			t.Error(err)
		}
	}
}

func TestAListOfPeersThatIsNotThatOfItsVariableIsNotKept(t *testing.T) {
	t.Parallel()
	g, err := identity.Render(podtest.Proven(member(t)), added(100))
	if err != nil {
		t.Fatal(err)
	}
	files := slices.Clone(g.Files())
	for i := range files {
		if files[i].Name == identity.FilePeers {
			files[i].Data = files[i].Data[1:]
		}
	}
	if _, err := member(t).Keeps(files); err == nil || err.Error() != "its file peers is torn" {
		t.Error(err)
	}
}

// What is required sets the pace of its own, however long it takes.
func TestWalkLooksAgainForWhatIsRequiredWhenThatSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		again := 40 * time.Millisecond
		walk := identity.Walk{Claim: member(t), Resolver: podtest.Agreeing(t, member(t)), Require: requires(
			func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) {
				return nil, identity.NotYet(identity.Peerless, errors.New("1 of 2 is there"), again)
			})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for turn := range walk.Turns(ctx) {
			if turn.Pause != again {
				t.Fatalf("a pause of %s after %s", turn.Pause, turn.Waited)
			}
		}
	})
}
