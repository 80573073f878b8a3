package kerberos_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/podfqdn/podfqdn/identity/podtest"
)

const memoryVar = "KERBEROS_TEST_MEMORY"

// mask keeps a key that is looked for from being what is found.
func mask(key []byte) []byte {
	masked := bytes.Clone(key)
	for i := range masked {
		masked[i] ^= 0x55
	}
	return masked
}

// inMemory counts the places in this process's memory where a masked key
// stands unmasked.
func inMemory(t *testing.T, masked []byte) (places int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	buffer := make([]byte, 1<<20)
	own := uintptr(unsafe.Pointer(&buffer[0]))
	for region := range strings.Lines(string(maps)) {
		var from, to uintptr
		var rights string
		if _, err := fmt.Sscanf(region, "%x-%x %s", &from, &to, &rights); err != nil {
			t.Fatal(err)
		}
		// What is larger is not the heap, but the race detector's.
		if !strings.HasPrefix(rights, "rw") || to-from > 256<<20 {
			continue
		}
		for at := from; at < to; at += uintptr(len(buffer) - len(masked)) {
			chunk := buffer[:min(uintptr(len(buffer)), to-at)]
			n, _ := memory.ReadAt(chunk, int64(at))
			for i := 0; i+len(masked) <= n; i++ {
				next := bytes.IndexByte(chunk[i:n], masked[0]^0x55)
				if i += next; next < 0 || i+len(masked) > n {
					break
				}
				here := at + uintptr(i)
				if bytes.Equal(mask(chunk[i:i+len(masked)]), masked) && (here < own || here >= own+uintptr(len(buffer))) {
					places++
				}
			}
			clear(buffer)
		}
	}
	return places
}

// In a process of its own, which is given the key in a file only.
func TestNoKeyIsLeftInMemory(t *testing.T) {
	source, text, child := strings.Cut(os.Getenv(memoryVar), "=")
	if !child {
		path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db1, 1), aes256(db0, 1)))
		theirs, ours := mask(keyOf(db1, 1, 32)), mask(keyOf(db0, 1, 32))
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), memoryVar+"="+path+"="+hex.EncodeToString(ours)+hex.EncodeToString(theirs), "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Fatalf("the child: %v\n%s", err, out)
		}
		return
	}
	both, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := both[:32], both[32:]
	keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: source}.keys(t)
	files, err := keys.Require(t.Context(), agreement, nil)
	if err != nil {
		t.Fatal(err)
	}
	// That which is to be published, and by which the search is known to find.
	if n := inMemory(t, ours); n != 1 {
		t.Errorf("our key is in memory %d times, want 1", n)
	}
	if n := inMemory(t, theirs); n != 0 {
		t.Errorf("another Pod's key is in memory %d times", n)
	}
	clear(files[0].Data)
	if n := inMemory(t, ours); n != 0 {
		t.Errorf("our key is in memory %d times more", n)
	}
}
