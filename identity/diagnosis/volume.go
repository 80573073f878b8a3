package diagnosis

// FactVolume names the fact of what the volume at PODFQDN_DIR has. The doctor on the
// laptop reads these values of it.
const (
	FactVolume = "volume"

	NothingPublished = "nothing is published"
	Verified         = "published and verified" // and this Pod's
)
