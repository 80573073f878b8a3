package identity

import (
	"fmt"
	"io/fs"
)

// File is one file of a Generation.
type File struct {
	Name string      // a plain file name, not beginning with ".."; slashes and the signal only in a tree, see Outlet
	Data []byte      `json:"-"`
	Mode fs.FileMode // permission bits
}

// Format shows a file without its content, which may be a key, by every verb.
func (f File) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "%+q %v of %d bytes", f.Name, f.Mode, len(f.Data))
}

// Generation is the set of files that one publication makes visible, whole
// or not at all. Only Render and a Walk make one, and only from what was
// proven.
type Generation struct{ files []File }

// Files returns the files in the order of their names. The caller may read them, not
// change them.
func (g Generation) Files() []File { return g.files }

// Clear overwrites the content of the files, which may be keys. The Generation can
// no longer be published.
func (g Generation) Clear() {
	for _, f := range g.files {
		clear(f.Data)
	}
}

func forget(all []Generation) {
	for _, g := range all {
		g.Clear()
	}
}

// Format shows the files without their content, by every verb.
func (g Generation) Format(s fmt.State, _ rune) { fmt.Fprint(s, g.files) }
