package identity_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest/surface"
)

// The rest of docs/v1.txt is compared where the commands are.
func TestV1KeepsWhatItPromisesOfIdentityJSON(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("../docs/v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	items := append(surface.Fields(identity.Record, nil), fmt.Sprintf("schemaVersion %d", identity.SchemaVersion))
	for _, difference := range surface.Differences(string(list), "identity.json", items) {
		t.Error(difference)
	}
}
