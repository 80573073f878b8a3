package diagnosis

// FactVolume names the fact of what the volume at PODFQDN_DIR holds. Of its values
// the doctor on the laptop reads these.
const (
	FactVolume = "volume"

	NothingPublished = "nothing is published"
	Verified         = "published and verified" // and this Pod's
)
