package cluster

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestAnIDIsSafeInEveryName(t *testing.T) {
	for _, id := range []string{"dev", "ci-17", "a", "0"} {
		if _, err := dirOf(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "a/b", "-a", "a-", "A", "a b", "a\n", "abcdefghijklmnopqrstuvwxyz-0123456789"} {
		if dir, err := dirOf(id); err == nil {
			t.Errorf("%q is %s, want a refusal", id, dir)
		}
	}
}

func TestAProcessIsKnownByItsStartToo(t *testing.T) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := processOf(c.Process.Pid)
	if err != nil || !p.alive() {
		t.Fatalf("%+v alive %v, %v", p, p.alive(), err)
	}
	earlier := process{PID: p.PID, Start: p.Start - 1}
	if earlier.alive() {
		t.Errorf("%+v counts as %+v", earlier, p)
	}
	if err := earlier.kill(); err != nil || !p.alive() {
		t.Fatalf("killing %+v ended %+v: %v", earlier, p, err)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	// Not waited for yet: a zombie is not a process.
	for deadline := time.Now().Add(10 * time.Second); p.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v was killed and lives", p)
		}
	}
	_ = c.Wait()
	if err := p.kill(); err != nil {
		t.Errorf("killing one that has ended: %v", err)
	}
}

func TestACommandWithParenthesesDoesNotHideTheStart(t *testing.T) {
	p, err := parseStat("42 (a) R (b)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9")
	if want := (process{PID: 42, Start: 777}); err != nil || p != want {
		t.Errorf("%+v, %v, want %+v", p, err, want)
	}
	if _, err := parseStat("42 (a) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9"); !errors.Is(err, errGone) {
		t.Errorf("a zombie: %v, want %v", err, errGone)
	}
	if _, err := parseStat("42 (a) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 2 0 777 9 9"); err != nil {
		t.Errorf("a zombie with a thread that has not ended: %v", err)
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	if r, err := readRecord(dir); err != nil || r.Node.PID != 0 {
		t.Errorf("none: %+v, %v", r, err)
	}
	want := record{Node: process{PID: 42, Start: 777}, Kubernetes: "v1.37.1"}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := readRecord(dir); err != nil || got.Node != want.Node || got.Kubernetes != want.Kubernetes {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if err := os.WriteFile(dir+"/record.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(dir); err == nil {
		t.Error("a torn record is read without an error: its process would be forgotten")
	}
}
