package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var validID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// dirOf returns the directory of the cluster id, whether it exists or not.
func dirOf(id string) (string, error) {
	if !validID.MatchString(id) {
		return "", fmt.Errorf("cluster id %q: want up to 32 of a-z, 0-9 and -", id)
	}
	cache, err := cacheDir()
	return filepath.Join(cache, "cluster", id), err
}

// process is a process that can be told from a later one of the same number.
type process struct {
	PID   int
	Start uint64 // clock ticks after boot: field 22 of /proc/PID/stat, proc(5)
}

// errGone is the end of a process, zombies included.
var errGone = errors.New("no such process")

// processOf returns the process that has the number pid now.
func processOf(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, errGone
	}
	return parseStat(string(b))
}

func parseStat(stat string) (process, error) {
	// The command stands in parentheses and may hold anything, also those.
	before, _, _ := strings.Cut(stat, " ")
	after := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(after) < 20 {
		return process{}, fmt.Errorf("not a /proc/PID/stat: %q", stat)
	}
	// A zombie of several threads is one whose first thread has ended; the
	// last one to end is it that takes a PID namespace with it.
	if threads := after[17]; (after[0] == "Z" || after[0] == "X") && (threads == "1" || threads == "0") {
		return process{}, errGone
	}
	pid, err := strconv.Atoi(before)
	if err != nil {
		return process{}, err
	}
	start, err := strconv.ParseUint(after[19], 10, 64)
	return process{PID: pid, Start: start}, err
}

// alive reports whether p, and not another process of its number, is running.
func (p process) alive() bool {
	now, err := processOf(p.PID)
	return err == nil && now == p
}

// kill ends p if it is running. It never meets another process: the handle is
// taken first, and what it holds is looked at after.
func (p process) kill() error {
	if p.PID == 0 {
		return nil
	}
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer handle.Release()
	if !p.alive() {
		return nil
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

// end kills p and waits until it is gone. The first process of a PID
// namespace is the last of it to go.
func (p process) end() error {
	if err := p.kill(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); p.alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d was killed 30s ago and is still there", p.PID)
		}
	}
	return nil
}

// record is what a later process has to know of a cluster.
type record struct {
	Node       process
	Kubernetes string            // its version
	Domain     string            // empty is cluster.local
	Programs   map[string]string // component: directory of its binaries
}

func (r record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// Whole or not at all: a torn record would lose the process.
	file := filepath.Join(dir, "record.json")
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// readRecord returns the zero record if there is none.
func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("record of the cluster in %s: %w", dir, err)
	}
	return r, nil
}
