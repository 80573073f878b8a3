package identity

import "io/fs"

// File is one file of a Generation.
type File struct {
	Name string // a plain file name: no slash, not beginning with ".."
	Data []byte
	Mode fs.FileMode // permission bits
}

// Generation is the set of files that one publication makes visible, whole
// or not at all. Only Render makes one, and only from what was proven.
type Generation struct{ files []File }

// Files gives the files in the order of their names. They are the caller's
// to read, not to change.
func (g Generation) Files() []File { return g.files }
