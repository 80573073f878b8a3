package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/kube"
)

// What a container and the API say is shown in three forms: none moves a
// terminal, and both of those for programs say the same.
func FuzzForms(f *testing.F) {
	f.Add([]byte(`{"schema": 1, "healthy": true, "facts": [], "questions": []}`), "published", "")
	f.Add([]byte(`{"schema": 1, "reason": "\u001b[31m\u009b\u202e\u007f\ud83d\ude00", "facts": [{"name": "\u001b", "value": "\u001b", "from": "\u001b"}], "causes": [{"kind": "\u001b", "why": "a\nb", "change": "\u2028", "command": "\u001b"}]}`), "waiting", "\x1b[31m\u009b\u202e\x7f")
	f.Add([]byte(`{"questions": [{"server": "\u001b:53", "kind": "\u001b", "type": "\u001b", "subject": "\u001b", "rcode": "\u001b", "answer": "\u001b", "verdict": "\u001b", "zone": "\u001b", "nsid": "\u001b", "ms": -1e300}]}`), "\x00", "- : #\t!!binary")
	f.Fuzz(func(t *testing.T, wire []byte, state, reason string) {
		var d diagnosis.Diagnosis
		if json.Unmarshal(wire, &d) != nil {
			return
		}
		use := kube.Use{Namespace: "default", Pod: "db-0", State: kube.State(state), Container: "podfqdn", Reason: strings.ToValidUTF8(reason, "?")}
		r := report{Schema: 1, Healthy: len(d.Causes) == 0, Use: use, Facts: d.Facts, Wire: &d, Causes: d.Causes, Trouble: []string{use.Reason}}
		l := list{Schema: 1, Pods: []kube.Use{use}}
		r.State = kube.State(strings.ToValidUTF8(state, "?"))
		l.Pods[0].State = r.State
		for _, p := range []printer{r, l} {
			forms := map[string]string{}
			for _, form := range []string{"", "json", "yaml"} {
				var out strings.Builder
				if err := (&doctor{output: form}).print(&out, p); err != nil {
					t.Fatalf("-o %q: %v", form, err)
				}
				if strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
					t.Errorf("-o %q is not plain: %q", form, out.String())
				}
				forms[form] = out.String()
			}
			var asJSON, asYAML any
			if err := json.Unmarshal([]byte(forms["json"]), &asJSON); err != nil {
				t.Errorf("%v: %s", err, forms["json"])
			}
			if err := yaml.Unmarshal([]byte(forms["yaml"]), &asYAML); err != nil || !reflect.DeepEqual(asJSON, asYAML) {
				t.Errorf("%v: YAML says\n%s\nand JSON\n%s", err, forms["yaml"], forms["json"])
			}
		}
	})
}
