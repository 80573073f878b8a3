package identity

import (
	"regexp"
	"strconv"
	"strings"
)

// Ordinal returns the Pod's number in its set, in decimal without leading zeros, at
// most 2147483647; "" if it has none.
func (c Claim) Ordinal() string { return c.ordinal }

// givenOrdinal returns POD_ORDINAL; it is empty if the Pod does not have the label
// that it is set from. The error is a *Refusal.
func givenOrdinal(given Given) (Fact, error) {
	if given.PodOrdinal != "" && !isOrdinal(given.PodOrdinal) {
		return Fact{}, refuse(Misconfigured, "POD_ORDINAL=%+q is not a whole number from 0 to 2147483647 without leading zeros", given.PodOrdinal).
			mend("set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or leave it out")
	}
	return firstOf(Fact{given.PodOrdinal, "POD_ORDINAL"}), nil
}

// isOrdinal reports whether text is what a StatefulSet writes for a Pod's number,
// which is an int32.
func isOrdinal(text string) bool {
	n, err := strconv.ParseInt(text, 10, 32)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}

// generated are hostnames that may end with the five random characters of the API
// server (k8s.io/apiserver, pkg/storage/names), all of them digits, after the
// pod-template-hash of a Deployment: the digits of a uint32 in the alphabet of
// rand.SafeEncodeString (k8s.io/apimachinery, pkg/util/rand). The API
// server cuts a long name to 58 characters, perhaps without a hyphen after the hash.
var generated = regexp.MustCompile(`-[bcdf4-9]{1,10}-?[24-9]{5}$`)

// number returns the ordinal of a Pod without POD_ORDINAL: the number after the last
// hyphen of the claimed hostname, as StatefulSets and Indexed Jobs write it; "" for a
// dashed name, which ends with a part of the address.
func (c Claim) number() string {
	hostname := c.Hostname()
	text := hostname[strings.LastIndexByte(hostname, '-')+1:]
	for _, addr := range c.own {
		if hostname == Dashed(addr) {
			return ""
		}
	}
	if text == hostname || !isOrdinal(text) || generated.MatchString(hostname) {
		return ""
	}
	return text
}
