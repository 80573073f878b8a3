package render

// ReadWhile reads the names, modes and texts of a source, with a function that is
// called each time that it was read.
func ReadWhile(src string, meanwhile func()) (names, modes, texts []string, err error) {
	files, err := readWhile(src, meanwhile)
	for _, f := range files {
		names, modes, texts = append(names, f.name), append(modes, f.mode.String()), append(texts, f.raw)
	}
	return names, modes, texts, err
}

const (
	MaxBytes = maxBytes
	MaxFiles = maxFiles
	Tries    = tries
)
