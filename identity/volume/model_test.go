package volume_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// This file explores what a reader can see when it and a writer that is
// killed at any moment are interleaved in every possible way. The volume is a
// map, the writer a list of changes to it, the readers are state machines.
//
// The model cannot drift from the code: TestTheCodeTakesTheStepsOfTheModel
// builds every state that a kill can leave as a real directory, runs the real
// code there, and compares the names of the steps and the whole directory before
// each of them.

// kind is the name of the start signal: that of a contract, or of a tree, whose
// signal has content and whose names are not known beforehand.
type kind string

const (
	ofContract kind = volume.Verified
	ofTree     kind = "..signal"
)

func (k kind) content() string {
	if k == ofContract {
		return ""
	}
	return "signal"
}

// tree maps a path to "/" for a directory, "-> target" for a symlink and "="
// with the content for a file.
type tree map[string]string

func (t tree) target(link string) string {
	target, _ := strings.CutPrefix(t[link], "-> ")
	return target
}

// content opens the file path in directory.
func (t tree) content(dir, path string) (string, bool) {
	return strings.CutPrefix(t[dir+"/"+path], "=")
}

// open opens a visible name, as a reader does that does not know "..data".
func (t tree) open(name string) (string, bool) {
	if t.target(name) != "..data/"+name {
		return "", false
	}
	return t.content(t.target("..data"), name)
}

// in lists a directory.
func (t tree) in(dir string) (names []string) {
	for path := range t {
		if name, ok := strings.CutPrefix(path, dir+"/"); ok && dir != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (t tree) String() string {
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(t)) {
		lines = append(lines, path+" "+t[path])
	}
	return strings.Join(lines, "\n")
}

// generation is a set of files of one content, which begins with the Pod.
type generation struct {
	content string
	names   string // one letter each
}

var (
	generations = []generation{{"A1", "abz"}, {"A2", "acz"}, {"A3", "az"}, {"B1", "acz"}}
	a1, a2      = generations[0], generations[1]
	a3, b1      = generations[2], generations[3]
	withdraw    = generation{}
	contract    = []string{"a", "b", "c", "z"}
)

func (g generation) String() string {
	s := ""
	for i := range g.names {
		s += g.names[i:i+1] + "=" + g.content + " "
	}
	return s
}

// holds is the question that Open asks: is this a generation of this Pod?
func holds(pod byte, files string) bool {
	return slices.ContainsFunc(generations, func(g generation) bool { return g.content[0] == pod && g.String() == files })
}

// run is one life of a writer: Open for a Pod, then publications.
type run struct {
	pod  byte
	acts []generation
}

var runs = []run{
	{'A', []generation{a1}},
	{'A', []generation{a2}},
	{'B', []generation{b1}},
	{'A', []generation{a1, a2, a3}},
	{'A', []generation{a1, withdraw, a1}},
}

// moment is the directory before a step; the step "" is a moment inside one.
type moment struct {
	kind   kind
	step   string
	dir    tree
	opened bool // Open has returned
}

// writer is the model of the code. Generations are numbered, as the code
// never uses a name twice.
type writer struct {
	kind
	now      tree
	next     int
	previous string
	opened   bool
	trace    []moment
	flaw     string // see TestTheModelFindsFlaws
}

func (w *writer) do(step string, changes ...func()) {
	for _, change := range changes {
		w.trace = append(w.trace, moment{w.kind, step, maps.Clone(w.now), w.opened})
		change()
		step = ""
	}
}

func (w *writer) put(path, what string) func() { return func() { w.now[path] = what } }
func (w *writer) del(path string) func()       { return func() { delete(w.now, path) } }

func (w *writer) unlink(name string) {
	if _, there := w.now[name]; there {
		w.do("unlink "+name, w.del(name))
	}
}

func (w *writer) link(name string) {
	if _, there := w.now[name]; !there {
		w.do("link "+name, w.put(name, "-> ..data/"+name))
	}
}

func (w *writer) build(files map[string]string) string {
	dir := fmt.Sprintf("..gen-%d", w.next)
	w.next++
	w.do("make generation", w.put(dir, "/"))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path, content := dir+"/"+name, files[name]
		w.do("create "+name, w.put(path, "="))
		w.do("write "+name, w.put(path, "="+content[:len(content)/2]), w.put(path, "="+content))
		w.do("chmod "+name, func() {})
	}
	w.do("chmod generation", func() {})
	return dir
}

func (w *writer) sweep(keep ...string) {
	for _, dir := range slices.Sorted(maps.Keys(w.now)) {
		if w.now[dir] != "/" || slices.Contains(keep, dir) {
			continue
		}
		var changes []func()
		for _, name := range w.now.in(dir) {
			changes = append(changes, w.del(dir+"/"+name))
		}
		w.do("remove generation", append(changes, w.del(dir))...)
	}
}

func (w *writer) standing(dir string) string {
	var s strings.Builder
	for _, name := range w.now.in(dir) {
		if content, _ := w.now.content(dir, name); name != string(w.kind) {
			fmt.Fprintf(&s, "%s=%s ", name, content)
		}
	}
	return s.String()
}

func (w *writer) open(pod byte) {
	current := w.now.target("..data")
	_, whole := w.now.content(current, string(w.kind))
	if current != "" && !(whole && holds(pod, w.standing(current))) && w.flaw != "keep anything" {
		w.unlink(string(w.kind))
		w.unlink("..data")
		current = ""
	}
	for _, name := range append(slices.Clone(contract), string(w.kind)) {
		if _, has := w.now.content(current, name); !has {
			w.unlink(name)
		}
	}
	w.unlink("..data_tmp")
	w.sweep(current)
	w.build(map[string]string{"probe": "\n"})
	w.sweep(current)
	w.opened = true
}

func (w *writer) publish(g generation) {
	if g == withdraw {
		w.unlink(string(w.kind))
		return
	}
	files := map[string]string{string(w.kind): w.content()}
	for _, name := range g.names {
		files[string(name)] = g.content
	}
	current := w.now.target("..data")
	next := current
	_, whole := w.now.content(current, string(w.kind))
	switch {
	case whole && w.standing(current) == g.String():
	case w.flaw == "write in place" && current != "":
		for _, name := range slices.Sorted(maps.Keys(files)) {
			w.do("write "+name, w.put(current+"/"+name, "="+files[name]))
		}
	default:
		next = w.build(files)
	}
	linkAll := func() {
		for _, name := range g.names {
			w.link(string(name))
		}
	}
	if w.flaw != "link after the turn" {
		linkAll()
	}
	if next != current {
		if w.flaw == "turn in two steps" {
			w.unlink("..data")
		}
		w.do("link ..data_tmp", w.put("..data_tmp", "-> "+next))
		w.do("rename ..data_tmp", func() {
			w.now["..data"] = w.now["..data_tmp"]
			delete(w.now, "..data_tmp")
		})
		w.previous = current
	}
	linkAll()
	for _, name := range append(slices.Clone(contract), string(w.kind)) {
		if _, has := files[name]; !has {
			w.unlink(name)
		}
	}
	w.link(string(w.kind))
	w.sweep(next, w.previous)
}

// life is the whole of one run in the directory t: the moments, and the end as
// the last of them.
func life(k kind, t tree, r run, flaw string) []moment {
	w := &writer{kind: k, now: maps.Clone(t), next: first, flaw: flaw}
	w.open(r.pod)
	for _, g := range r.acts {
		w.publish(g)
	}
	return append(w.trace, moment{k, "end", w.now, true})
}

// first is the number of the first generation that a run makes. What it finds
// has smaller ones: canonical assigns them, so that directories that differ by
// these names alone are explored once.
const first = 10

func canonical(t tree) (tree, map[string]string) {
	var pairs []string
	rename := make(map[string]string)
	for _, path := range slices.Sorted(maps.Keys(t)) {
		if t[path] == "/" {
			rename[path] = fmt.Sprintf("..gen-%d", len(rename)+1)
			pairs = append([]string{path, rename[path]}, pairs...) // the longer first
		}
	}
	replacer, place := strings.NewReplacer(pairs...), make(tree)
	for path, what := range t {
		place[replacer.Replace(path)] = replacer.Replace(what)
	}
	return place, rename
}

// reader is a container at some point of its work. Each of its steps is one
// system call, and the writer may take any number of steps between two.
type reader struct {
	check  bool // reads as volume.Read does, else as an application should
	late   bool // its first look was after Open had returned
	phase  int
	gen    string
	listed string // the names still to open
	got    string
	signal bool
}

// advance takes the reader's next step in the directory t. done means that it is
// satisfied with what it got; a reader that meets ENOENT begins again.
func (r reader) advance(m moment) (next reader, done bool) {
	again := reader{check: r.check}
	t := m.dir
	switch {
	case r.phase == 0 && !r.check: // test -e verified
		if _, ok := t.open(string(m.kind)); !ok {
			return again, false
		}
		r.signal, r.late = true, m.opened
	case r.phase == 0:
		r.late = m.opened
	case r.phase == 1: // readlink ..data
		if r.gen = t.target("..data"); r.gen == "" {
			return again, false
		}
		if !r.check {
			r.listed = "az" // what every generation has
		}
	case r.phase == 2 && r.check: // lstat verified
		r.signal = t.target(string(m.kind)) != ""
	case r.phase == 3 && r.check: // readdir
		names := t.in(r.gen)
		if !slices.Contains(names, string(m.kind)) {
			return again, false
		}
		r.listed = strings.ReplaceAll(strings.Join(names, ""), string(m.kind), "")
	case r.listed != "":
		content, ok := t.content(r.gen, r.listed[:1])
		if !ok {
			return again, false
		}
		r.got += r.listed[:1] + "=" + content + " "
		r.listed = r.listed[1:]
	default: // readlink ..data
		if r.check && t.target("..data") != r.gen {
			return again, false
		}
		return r, true
	}
	r.phase++
	return r, false
}

// violation is the invariant of the readers: a reader that was satisfied has one
// whole generation; and if the signal stood and Open had returned before, then
// it is one of this Pod.
func (r reader) violation(pod byte) error {
	for _, g := range generations {
		whole := r.got == g.String()
		if !r.check {
			whole = r.got == generation{g.content, "az"}.String()
		}
		if whole && r.signal && r.late && g.content[0] != pod {
			return fmt.Errorf("a reader of Pod %c got %q", pod, r.got)
		}
		if whole {
			return nil
		}
	}
	return fmt.Errorf("a reader got %q", r.got)
}

// gap is the invariant of the directory: where the signal stands, every file of
// the current generation can be opened by its visible name and no other can;
// once it stood for a Pod it stands, unless it was withdrawn.
func gap(k kind, t tree, pod byte, stood bool) (stands bool, err error) {
	_, signal := t.open(string(k))
	if stood && !signal {
		return false, errors.New("the signal vanished")
	}
	var seen string
	for _, name := range contract {
		if content, ok := t.open(name); ok {
			seen += name + "=" + content + " "
		}
	}
	if signal && !holds('A', seen) && !holds('B', seen) {
		return false, fmt.Errorf("the visible names show %q", seen)
	}
	return signal && holds(pod, seen), nil
}

// situation is a directory that a kill left, and the readers that live on.
type situation struct {
	dir     tree
	pod     byte // of the run that was killed
	stands  bool
	crashed bool // the node did, and no Open returned since: nobody reads yet
	readers map[reader]bool
}

// beginnings are an empty volume and generations that a crash of the node
// damaged.
func beginnings(k kind) map[string]*situation {
	whole := func() tree {
		moments := life(k, tree{}, runs[0], "")
		t, _ := canonical(moments[len(moments)-1].dir)
		return t
	}
	unsigned, lacking, dangling, empty := whole(), whole(), whole(), whole()
	delete(unsigned, "..gen-1/"+string(k))
	delete(lacking, "..gen-1/z")
	delete(dangling, "..data")
	empty["..gen-1/a"] = "="
	all := make(map[string]*situation)
	for _, t := range []tree{{}, unsigned, lacking, dangling, empty, {"..data": "-> ..gen-9"}} {
		all[t.String()] = &situation{dir: t, crashed: true}
	}
	return all
}

// explore lets every run follow on every situation, with a kill at every
// moment, and returns the situations after it.
func explore(k kind, from map[string]*situation, flaw string) (to map[string]*situation, moments int, err error) {
	to = make(map[string]*situation)
	for _, s := range from {
		for _, r := range runs {
			trace := life(k, s.dir, r, flaw)
			stands, readers := s.stands, maps.Clone(s.readers)
			if r.pod != s.pod {
				stands, readers = false, nil // the containers of that Pod are gone
			}
			withdraws := slices.Contains(r.acts, withdraw)
			for i, m := range trace {
				crashed := s.crashed && !m.opened
				if !crashed {
					stands, err = gap(k, m.dir, r.pod, stands && !withdraws)
					if err == nil {
						readers, err = interleave(readers, m, r.pod)
					}
					if err != nil {
						return nil, 0, fmt.Errorf("before step %d, %q: %w in\n%v", i, m.step, err, m.dir)
					}
				}
				place, rename := canonical(m.dir)
				key := fmt.Sprintf("%v\n%c %v %v", place, r.pod, stands, crashed)
				if to[key] == nil {
					to[key] = &situation{dir: place, pod: r.pod, stands: stands, crashed: crashed, readers: make(map[reader]bool)}
				}
				for r := range readers {
					if r.gen != "" {
						r.gen = cmp.Or(rename[r.gen], "..gen-0") // gone, and its name with it
					}
					to[key].readers[r] = true
				}
			}
			moments += len(trace)
			end := trace[len(trace)-1].dir
			if _, ok := end.open(string(k)); !ok || !holds(r.pod, (&writer{kind: k, now: end}).standing(end.target("..data"))) {
				return nil, 0, fmt.Errorf("after a run to its end the directory is\n%v", end)
			}
		}
	}
	return to, moments, nil
}

// interleave lets every reader take any number of steps at this moment.
func interleave(readers map[reader]bool, m moment, pod byte) (map[reader]bool, error) {
	todo := []reader{{}, {check: true}}
	for r := range readers {
		todo = append(todo, r)
	}
	after := make(map[reader]bool)
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if after[r] {
			continue
		}
		after[r] = true
		next, done := r.advance(m)
		if !done {
			todo = append(todo, next)
		} else if err := next.violation(pod); err != nil {
			return nil, err
		}
	}
	return after, nil
}

// kills in a row, and then a run to its end. 2 holds too; it takes a minute.
const kills = 1

func TestNoInterleavingOfKillsAndReadersShowsAMix(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{ofContract, ofTree} {
		situations := beginnings(k)
		for range kills + 1 {
			before := len(situations)
			next, moments, err := explore(k, situations, "")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d situations, %d moments, %d situations after them", k, before, moments, len(next))
			situations = next
		}
	}
}

func TestTheModelFindsFlaws(t *testing.T) {
	t.Parallel()
	for _, flaw := range []string{"keep anything", "write in place", "link after the turn", "turn in two steps"} {
		var err error
		for situations, n := beginnings(ofContract), 0; n <= kills && err == nil; n++ {
			situations, _, err = explore(ofContract, situations, flaw)
		}
		if err == nil {
			t.Errorf("%s: not found", flaw)
		}
		t.Logf("%s: %v", flaw, err)
	}
}

func TestTheCodeTakesTheStepsOfTheModel(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{ofContract, ofTree} {
		takesTheSteps(t, k)
	}
}

func takesTheSteps(t *testing.T, k kind) {
	begin := beginnings(k)
	all, _, err := explore(k, begin, "")
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, begin)
	seen := make(map[string]bool)
	for _, s := range all {
		if seen[s.dir.String()] {
			continue
		}
		seen[s.dir.String()] = true
		for _, r := range runs {
			if _, beginning := begin[s.dir.String()]; !beginning && (len(r.acts) > 1 || r.acts[0] == a1) {
				continue // the long lives, and the same again, only from the beginnings: time
			}
			want := life(k, s.dir, r, "")
			want = slices.DeleteFunc(want, func(m moment) bool { return m.step == "" })
			got := record(t, k, s.dir, r)
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i].step != want[i].step || got[i].dir.String() != want[i].dir.String() {
					t.Fatalf("in\n%v\nrun %c %v: step %d differs\ngot:  %v\nwant: %v", s.dir, r.pod, r.acts, i, at(got, i), at(want, i))
				}
			}
		}
	}
	t.Logf("%s: %d directories", k, len(seen))
}

func at(trace []moment, i int) string {
	if i >= len(trace) {
		return "nothing"
	}
	return fmt.Sprintf("%q in\n%v", trace[i].step, trace[i].dir)
}

// record makes the directory real and lets the code run there.
func record(t *testing.T, k kind, start tree, r run) (trace []moment) {
	t.Helper()
	dir := t.TempDir()
	for _, path := range slices.Sorted(maps.Keys(start)) {
		what, full := start[path], filepath.Join(dir, path)
		var err error
		switch what[0] {
		case '/':
			err = os.Mkdir(full, 0o755)
		case '=':
			err = os.WriteFile(full, []byte(what[1:]), 0o644)
		default:
			err = os.Symlink(start.target(path), full)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	numbers, next := make(map[string]string), first
	for path, what := range start {
		if what == "/" || strings.HasPrefix(what, "-> ..gen-") {
			name := strings.TrimPrefix(what, "-> ")
			if what == "/" {
				name = path
			}
			numbers[name] = name
		}
	}
	step := func(what string) error {
		trace = append(trace, moment{step: what, dir: look(t, dir, numbers, &next)})
		return nil
	}
	keep := func(files []identity.File) error {
		var s strings.Builder
		for _, f := range files {
			if f.Name != string(k) {
				fmt.Fprintf(&s, "%s=%s ", f.Name, f.Data)
			}
		}
		if !holds(r.pod, s.String()) {
			return errors.New("of another Pod")
		}
		return nil
	}
	var v *volume.Volume
	var err error
	if k == ofContract {
		v, err = volume.OpenAs(t.Context(), dir, contract, keep, os.Geteuid(), step)
	} else {
		v, err = volume.OpenTreeAs(t.Context(), dir, string(k), keep, os.Geteuid(), step)
	}
	if err != nil {
		t.Fatalf("in\n%v\n%v", start, err)
	}
	defer v.Close()
	for _, g := range r.acts {
		if g == withdraw {
			err = v.Withdraw()
		} else {
			var files []identity.File
			if k == ofTree {
				files = append(files, identity.File{Name: string(k), Data: []byte(k.content()), Mode: 0o644})
			}
			for _, name := range g.names {
				files = append(files, identity.File{Name: string(name), Data: []byte(g.content), Mode: 0o644})
			}
			_, err = v.PublishFiles(files)
		}
		if err != nil {
			t.Fatalf("in\n%v\n%v", start, err)
		}
	}
	_ = step("end")
	return trace
}

// look returns the real directory as a tree, its generations numbered in the order
// in which they appeared.
func look(t *testing.T, dir string, numbers map[string]string, next *int) tree {
	t.Helper()
	now := make(tree)
	number := func(name string) string {
		first, rest, _ := strings.Cut(name, "/")
		if strings.HasPrefix(first, "..gen-") {
			if numbers[first] == "" {
				numbers[first] = fmt.Sprintf("..gen-%d", *next)
				*next++
			}
			name = filepath.Join(numbers[first], rest)
		}
		return name
	}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case entry.IsDir():
			now[number(name)] = "/"
		case entry.Type() == os.ModeSymlink:
			target, err := os.Readlink(path)
			now[name] = "-> " + number(target)
			return err
		default:
			content, err := os.ReadFile(path)
			now[number(name)] = "=" + string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return now
}
