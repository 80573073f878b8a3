package kube

import (
	"os/exec"
	"strings"
	"testing"
)

func TestAQuotedWordReachesACommandAsItIs(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "db-0", "a b", `{"spec":{"x":"it's $HOME"}}`, "`id`", "$(id)", "*", "~", "a\nb", `\`, "!", "é", ";", "a=b,c"} {
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %q: %v", word, out, err)
		}
	}
	for _, plain := range []string{"db-0", "--context=prod", "pods/exec", "a.b:c@d"} {
		if got := Quote(plain); got != plain {
			t.Errorf("%s is quoted without need: %s", plain, got)
		}
	}
}

// What sed is told changes the one line, and nobody's name runs a command.
func TestTheCorefileIsEditedInOneLine(t *testing.T) {
	t.Parallel()
	edit := func(text, before string) string {
		v := &View{kubectl: "kubectl"}
		v.dns = clusterDNS{name: "coredns", configMap: "coredns", text: text, corefile: parseCorefile(text)}
		j := judge{View: v}
		return j.addZones(before, " in-addr.arpa").command(v.kubectl)
	}
	text := ".:53 {\n  kubernetes cluster.local {\n  }\n  forward . 192.0.2.1\n}\n"
	command := edit(text, "x.y ")
	_, sed, _ := strings.Cut(command, "| ")
	sed, _, ok := strings.Cut(sed, " | ")
	if !ok || !strings.HasSuffix(command, " && kubectl --namespace kube-system rollout restart deployment/coredns") {
		t.Fatal(command)
	}
	cmd := exec.Command("sh", "-c", sed)
	cmd.Stdin = strings.NewReader(text + "  kubernetes clusterXlocal\n")
	out, err := cmd.Output()
	if want := strings.Replace(text, "cluster.local", "x.y cluster.local in-addr.arpa", 1) + "  kubernetes clusterXlocal\n"; err != nil || string(out) != want {
		t.Errorf("%s: %v\n%s\nnot\n%s", sed, err, out, want)
	}
	for _, text := range []string{
		"a.b {\n  kubernetes\n}", // the zones are the server block's
		".:53 {\n  kubernetes  a.b\n}",
		".:53 {\n  kubernetes a.b\n}\n.:54 {\n  kubernetes a.b\n}",
		".:53 {\n  kubernetes a&b\n}",
		".:53 {\n  kubernetes a;b\n}",
	} {
		if command := edit(text, ""); command != "" {
			t.Errorf("%q is edited: %s", text, command)
		}
	}
}
