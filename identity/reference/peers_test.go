package reference_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity/reference"
)

// set returns the names of a StatefulSet's members as POD_PEERS has them.
func set(name string, ordinals ...int) string {
	var all []string
	for _, n := range ordinals {
		all = append(all, fmt.Sprintf("%s-%d.%s.default.svc.cluster.local", name, n, name))
	}
	return strings.Join(all, ",")
}

// servers are what servers want to be told of their members: the rows of
// docs/peers.md, for the peers of PODFQDN_PEERS, and what the server reads.
var servers = []struct{ name, setting, text, peers, want string }{
	{"ZooKeeper", "`zoo.cfg`", `$(POD_PEERS[\n]:server.{ordinal+1}={fqdn}:2888:3888;2181)`, set("zk", 0, 1, 2),
		"server.1=zk-0.zk.default.svc.cluster.local:2888:3888;2181\n" +
			"server.2=zk-1.zk.default.svc.cluster.local:2888:3888;2181\n" +
			"server.3=zk-2.zk.default.svc.cluster.local:2888:3888;2181"},
	{"Kafka", "`controller.quorum.voters`", `$(POD_PEERS:{ordinal+1}@{fqdn}:9093)`, set("kafka", 0, 1, 2),
		"1@kafka-0.kafka.default.svc.cluster.local:9093,2@kafka-1.kafka.default.svc.cluster.local:9093,3@kafka-2.kafka.default.svc.cluster.local:9093"},
	{"Kafka", "`bootstrap.servers`", `$(POD_PEERS:{fqdn}:9092)`, set("kafka", 0, 1),
		"kafka-0.kafka.default.svc.cluster.local:9092,kafka-1.kafka.default.svc.cluster.local:9092"},
	{"etcd", "`ETCD_INITIAL_CLUSTER`", `$(POD_PEERS:{hostname}=https://{fqdn}:2380)`, set("etcd", 0, 1, 2),
		"etcd-0=https://etcd-0.etcd.default.svc.cluster.local:2380,etcd-1=https://etcd-1.etcd.default.svc.cluster.local:2380,etcd-2=https://etcd-2.etcd.default.svc.cluster.local:2380"},
	{"RabbitMQ", "`rabbitmq.conf`", `$(POD_PEERS[\n]:cluster_formation.classic_config.nodes.{ordinal+1} = rabbit@{fqdn})`, set("mq", 0, 1),
		"cluster_formation.classic_config.nodes.1 = rabbit@mq-0.mq.default.svc.cluster.local\n" +
			"cluster_formation.classic_config.nodes.2 = rabbit@mq-1.mq.default.svc.cluster.local"},
	{"Galera", "`wsrep_cluster_address`", `gcomm://$(POD_PEERS)`, set("db", 0, 1, 2),
		"gcomm://db-0.db.default.svc.cluster.local,db-1.db.default.svc.cluster.local,db-2.db.default.svc.cluster.local"},
	{"Open MPI", "the hostfile", `$(POD_PEERS[\n]:{fqdn} slots=2)`, set("mpi", 0, 1),
		"mpi-0.mpi.default.svc.cluster.local slots=2\nmpi-1.mpi.default.svc.cluster.local slots=2"},
	{"HDFS", "`dfs.namenode.shared.edits.dir`", `qjournal://$(POD_PEERS[;]:{fqdn}:8485)/ns`, set("jn", 0, 1, 2),
		"qjournal://jn-0.jn.default.svc.cluster.local:8485;jn-1.jn.default.svc.cluster.local:8485;jn-2.jn.default.svc.cluster.local:8485/ns"},
	{"Cassandra", "`seeds` in `cassandra.yaml`", `"$(POD_PEERS)"`, set("cas", 0, 1),
		`"cas-0.cas.default.svc.cluster.local,cas-1.cas.default.svc.cluster.local"`},
	{"Redis", "`REDIS_NODES` of Bitnami's image", `$(POD_PEERS[ ]:{fqdn}:6379)`, set("redis", 0, 1),
		"redis-0.redis.default.svc.cluster.local:6379 redis-1.redis.default.svc.cluster.local:6379"},
	{"Patroni", "`PATRONI_ZOOKEEPER_HOSTS`", `$(POD_PEERS:'{fqdn}:2181')`, set("zk", 0, 1),
		"'zk-0.zk.default.svc.cluster.local:2181','zk-1.zk.default.svc.cluster.local:2181'"},
	{"Elasticsearch", "`discovery.seed_hosts`", `[$(POD_PEERS:"{fqdn}:9300")]`, set("es", 0, 1),
		`["es-0.es.default.svc.cluster.local:9300","es-1.es.default.svc.cluster.local:9300"]`},
	{"anything in JSON", "a list of objects", `[$(POD_PEERS:{"id": {ordinal}, "host": "{fqdn}"})]`, set("app", 1, 10),
		`[{"id": 1, "host": "app-1.app.default.svc.cluster.local"},{"id": 10, "host": "app-10.app.default.svc.cluster.local"}]`},
}

func TestAServerIsToldOfItsMembersAsItWants(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			parsed, err := reference.Parse(s.text, documented)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Expand(map[string]string{"POD_PEERS": s.peers})
			if got != s.want || err != nil {
				t.Errorf("%s becomes\n%s\nwant\n%s\n(%v)", s.text, got, s.want, err)
			}
		})
	}
}

func TestTheDocumentOfPeersHasTheServers(t *testing.T) {
	document, err := os.ReadFile("../../docs/peers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| server | setting | write |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	want := ""
	for _, s := range servers {
		want += fmt.Sprintf("| %s | %s | `%s` |\n", s.name, s.setting, s.text)
	}
	if strings.TrimSpace(table) != strings.TrimSpace(want) {
		t.Errorf("docs/peers.md has\n%s\nwant\n%s", table, want)
	}
}

// kubelet is what the kubelet makes of a command, its arguments and the values of
// env: of $(NAME), up to the first parenthesis, the variable, or what was written
// where there is none; of "$$" one (Kubernetes,
// third_party/forked/golang/expansion/expand.go of 1.37.1).
func kubelet(text string, env map[string]string) string {
	return regexp.MustCompile(`\$(?:\$|\(([^)]*)\))`).ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, ok := env[found[2:len(found)-1]]; ok {
			return value
		}
		return found
	})
}

// The first rows are what the function of that source has returned.
func TestTheKubeletLeavesReferencesToPeersAsTheyAre(t *testing.T) {
	env := map[string]string{"A": "1", "POD_PEERS_": "no"}
	for text, want := range map[string]string{
		`$(POD_PEERS[\n]:server.{ordinal+1}={fqdn}:2888)`: `$(POD_PEERS[\n]:server.{ordinal+1}={fqdn}:2888)`,
		`$(A) $(POD_PEERS:{fqdn}/$A$$) $$ $(A`:            `1 $(POD_PEERS:{fqdn}/$A$$) $ $(A`,
		`$$(POD_PEERS:{fqdn}) $$$$(POD_PEERS)`:            `$(POD_PEERS:{fqdn}) $$(POD_PEERS)`,
		"$(POD_PEERS[\n]:{fqdn})":                         "$(POD_PEERS[\n]:{fqdn})",
		`$(POD_PEERS[)]:{fqdn})`:                          `$(POD_PEERS[)]:{fqdn})`,
		`$(POD_PEERS[)$$]:{fqdn})`:                        `$(POD_PEERS[)$]:{fqdn})`, // its first ")" is not the last
	} {
		if got := kubelet(text, env); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	for _, s := range servers {
		if got := kubelet(s.text, env); got != s.text {
			t.Errorf("%q becomes %q", s.text, got)
		}
	}
}

func TestAListIsJoinedAndItsFormatIsRepeated(t *testing.T) {
	const fqdns = "zk-9.zk.default.svc.cluster.local,zk-10.zk.default.svc.cluster.local"
	for text, want := range map[string]string{
		"$(POD_PEERS)":                           fqdns,
		"$(POD_PEERS:{fqdn})":                    fqdns,
		"$(POD_PEERS[,])":                        fqdns,
		"$(POD_PEERS[ ; ])":                      strings.Replace(fqdns, ",", " ; ", 1),
		"$(POD_PEERS[]:<{hostname}>)":            "<zk-9><zk-10>",
		`$(POD_PEERS[\n]:{hostname})`:            "zk-9\nzk-10",
		"$(POD_PEERS[\n]:{hostname})":            "zk-9\nzk-10",
		`$(POD_PEERS[\t]:{hostname})`:            "zk-9\tzk-10",
		`$(POD_PEERS[ \\\n]:{hostname})`:         "zk-9 \\\nzk-10",
		`$(POD_PEERS[\\n]:{hostname})`:           `zk-9\nzk-10`,
		"$(POD_PEERS[)$(POD_IP):]:{hostname})":   "zk-9)$(POD_IP):zk-10",
		"$(POD_PEERS[\xff]:\xfe{hostname})":      "\xfezk-9\xff\xfezk-10",
		"$(POD_PEERS:{ordinal}/{ordinal+00})":    "9/9,10/10",
		"$(POD_PEERS:{ordinal+1}{ordinal+90})":   "1099,11100",
		"$(POD_PEERS:{{hostname}}})":             "{zk-9}},{zk-10}}",
		`$(POD_PEERS:{"h": "{hostname}", {}, {)`: `{"h": "zk-9", {}, {,{"h": "zk-10", {}, {`,
		"$(POD_PEERS:${user}@{hostname} $x $$)":  "${user}@zk-9 $x $$,${user}@zk-10 $x $$",
		`$(POD_PEERS:\n\{hostname})`:             `\n\zk-9,\n\zk-10`,
		"$(POD_PEERS:[{hostname}]:1)":            "[zk-9]:1,[zk-10]:1",
		"$$(POD_PEERS[;]:{fqdn})":                "$(POD_PEERS[;]:{fqdn})",
		"$$$(POD_PEERS:{fqdn})":                  "$$(POD_PEERS:{fqdn})",
		"$(POD_PEERS:{hostname}))":               "zk-9,zk-10)",
		"$(POD_PEERS=x) $(POD_PEERS x":           "$(POD_PEERS=x) $(POD_PEERS x",
	} {
		parsed, err := reference.Parse(text, documented)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := parsed.Expand(values); got != want || err != nil {
			t.Errorf("%q becomes %q, want %q (%v)", text, got, want, err)
		}
		if size, err := parsed.Size(values); size != len(want) || err != nil {
			t.Errorf("%q: Size is %d, want %d (%v)", text, size, len(want), err)
		}
	}
}

func TestAMalformedListIsReported(t *testing.T) {
	const (
		forms = "write $(POD_PEERS), $(POD_PEERS:{fqdn}:9092) or $(POD_PEERS[;]:{fqdn}:9092)"
		words = "write {fqdn}, {hostname}, {ordinal} or {ordinal+1}"
		close = `write a newline as the separator [\n]`
	)
	for text, want := range map[string][3]string{ // the reference, why, and what to write
		"$(POD_PEERS+1)":                 {"$(POD_PEERS+1)", "only POD_ORDINAL takes +N", forms},
		"$(POD_PEERS-1)":                 {"$(POD_PEERS-1)", "POD_PEERS takes no '-'", forms},
		"$(POD_PEERS:)":                  {"$(POD_PEERS:)", "a format needs a word in braces", words},
		"$(POD_PEERS:fqdn)":              {"$(POD_PEERS:fqdn)", "a format needs a word in braces", words},
		"$(POD_PEERS:-none)":             {"$(POD_PEERS:-none)", "a format needs a word in braces", words},
		"$(POD_PEERS:${fqdn})":           {"$(POD_PEERS:", "a format needs a word in braces", words},
		"$(POD_PEERS:{host})":            {"$(POD_PEERS:{host})", `"{host" does not begin a word of a format`, words + "; put a blank after a brace that is meant literally"},
		"$(POD_PEERS:{host: {fqdn}})":    {"$(POD_PEERS:", `"{host" does not begin a word of a format`, words + "; put a blank after a brace that is meant literally"},
		"$(POD_PEERS:{fqnd})":            {"$(POD_PEERS:{fqnd})", `"{fqnd" does not begin a word of a format`, "did you mean {fqdn}?"},
		"$(POD_PEERS:{FQDN})":            {"$(POD_PEERS:{FQDN})", `"{FQDN" does not begin a word of a format`, "did you mean {fqdn}?"},
		"$(POD_PEERS:{fqdn},{ordnal})":   {"$(POD_PEERS:{fqdn},{ordnal})", `"{ordnal" does not begin a word of a format`, "did you mean {ordinal}?"},
		"$(POD_PEERS:{" + long + ")":     {"$(POD_PEERS:", `"{xxxxxxxxxxxxxxxx" does not begin a word of a format`, words + "; put a blank after a brace that is meant literally"},
		"$(POD_PEERS:{fqdn)":             {"$(POD_PEERS:{fqdn)", "a brace must close {fqdn", words},
		"$(POD_PEERS:{fqdn.x})":          {"$(POD_PEERS:{fqdn.x})", "a brace must close {fqdn", words},
		"$(POD_PEERS:{ordinal-1})":       {"$(POD_PEERS:{ordinal-1})", "a brace must close {ordinal", words},
		"$(POD_PEERS:{fqdn+1})":          {"$(POD_PEERS:{fqdn+1})", "only {ordinal} takes +N", "write {fqdn}"},
		"$(POD_PEERS:{ordinal+})":        {"$(POD_PEERS:{ordinal+})", "1 to 6 digits and a brace must follow the + of {ordinal", "write {ordinal} or {ordinal+1}"},
		"$(POD_PEERS:{ordinal+1000000})": {"$(POD_PEERS:{ordinal+1000000})", "1 to 6 digits and a brace must follow the + of {ordinal", "write {ordinal} or {ordinal+1}"},
		"$(POD_PEERS:$(POD_FQDN))":       {"$(POD_PEERS:", `a format cannot have a "("`, "write what needs parentheses without a format"},
		"$(POD_PEERS:f({fqdn}))":         {"$(POD_PEERS:f({fqdn})", `a format cannot have a "("`, "write what needs parentheses without a format"},
		"$(POD_PEERS:{fqdn}\n)":          {"$(POD_PEERS:", "a parenthesis must close it on the same line", close},
		"$(POD_PEERS:{fqdn}\r\n)":        {"$(POD_PEERS:", "a parenthesis must close it on the same line", close},
		"$(POD_PEERS:{fqdn} pw=x":        {"$(POD_PEERS:", "a parenthesis must close it on the same line", close},
		"$(POD_PEERS[;":                  {"$(POD_PEERS[", `a "]" must close the "["`, forms},
		"$(POD_PEERS[;)":                 {"$(POD_PEERS[;)", `a "]" must close the "["`, forms},
		`$(POD_PEERS[\r]:{fqdn})`:        {`$(POD_PEERS[\r]:{fqdn})`, `a separator has no escapes but \n, \t and \\`, `write \\ for a backslash`},
		`$(POD_PEERS[\]:{fqdn})`:         {`$(POD_PEERS[\]:{fqdn})`, `a separator has no escapes but \n, \t and \\`, `write \\ for a backslash`},
		"$(POD_PEERS[;]{fqdn})":          {"$(POD_PEERS[;]{fqdn})", `a ":" and a format, or a parenthesis, must follow the "]"`, forms},
		"$(POD_PEERS[;]":                 {"$(POD_PEERS[", `a ":" and a format, or a parenthesis, must follow the "]"`, forms},
		"$$(POD_PEERS:{fqnd})":           {"$(POD_PEERS:{fqnd})", `"{fqnd" does not begin a word of a format`, "did you mean {fqdn}?"},
		"$(POD_FQDN:{fqdn})":             {"$(POD_FQDN:{fqdn})", "only POD_PEERS takes a format", "write $(POD_FQDN)"},
		"$(POD_ORDINAL:{ordinal})":       {"$(POD_ORDINAL:{ordinal})", "only POD_PEERS takes a format", "write $(POD_ORDINAL) or $(POD_ORDINAL+1)"},
		"$(POD_IPS[;])":                  {"$(POD_IPS[;])", "only POD_PEERS takes a separator", "write $(POD_IPS)"},
	} {
		_, err := reference.Parse("\n"+text, documented)
		m, ok := errors.AsType[*reference.Malformed](err)
		if !ok || m.Line != 2 || want != [3]string{m.Reference, m.Why, m.Want} {
			t.Errorf("%q: %v\nwant %q", text, err, want)
		}
	}
}

func TestAPeerWithoutOrdinalIsSaidBeforeAnythingElseIsKnown(t *testing.T) {
	const hint = "its hostname does not end with a hyphen and a number"
	text := "$(POD_FQDN)\n$(POD_PEERS:{fqdn})\n$(POD_PEERS:{ordinal+1})"
	parsed, err := reference.Parse(text, documented)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Check(nil); err != nil {
		t.Errorf("without values: %v", err)
	}
	for peers, want := range map[string]string{
		"zk-0.x,zk-2147483646":      "",
		"zk-0,jn.example.com":       `POD_PEERS has peer "jn.example.com", which has no ordinal for {ordinal+1}: ` + hint,
		"zk-0,zk-01.x":              `POD_PEERS has peer "zk-01.x", which has no ordinal for {ordinal+1}: ` + hint,
		"zk-.x":                     `POD_PEERS has peer "zk-.x", which has no ordinal for {ordinal+1}: ` + hint,
		"7.x":                       `POD_PEERS has peer "7.x", which has no ordinal for {ordinal+1}: ` + hint,
		"zk.x-1":                    `POD_PEERS has peer "zk.x-1", which has no ordinal for {ordinal+1}: ` + hint,
		"zk-2147483648":             `POD_PEERS has peer "zk-2147483648", which has no ordinal for {ordinal+1}: ` + hint,
		"zk-2147483647":             `POD_PEERS has peer "zk-2147483647", whose ordinal plus 1 is more than 2147483647`,
		"zk-99999999999999999999":   `POD_PEERS has peer "zk-99999999999999999999", which has no ordinal for {ordinal+1}: ` + hint,
		"":                          `POD_PEERS has peer "", which has no ordinal for {ordinal+1}: ` + hint,
		"a-b-0,a-b-c-1.x,d-2.y-e.z": "",
	} {
		known := map[string]string{"POD_PEERS": peers}
		got := parsed.Check(known)
		unfit, ok := errors.AsType[*reference.Unfit](got)
		if want == "" && got == nil {
			continue
		}
		if !ok || unfit.Why != want || unfit.Line != 3 || unfit.Want == "" {
			t.Errorf("%q: %#v\nwant %s", peers, got, want)
		}
		known["POD_FQDN"] = "x"
		if _, err := parsed.Size(known); err == nil || err.Error() != want {
			t.Errorf("%q: Size: %v", peers, err)
		}
	}
}

func TestAListOfAThousandIsLinearAndOneAllocation(t *testing.T) {
	var ordinals []int
	for n := range 1000 {
		ordinals = append(ordinals, n)
	}
	known := map[string]string{"POD_PEERS": set("member", ordinals...)}
	parsed, err := reference.Parse("$(POD_PEERS[\\n]:{ordinal+1}={fqdn}:{hostname})", documented)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parsed.Bytes(known)
	if size, wrong := parsed.Size(known); size != len(b) || cap(b) > len(b)+len(b)/4 || err != nil || wrong != nil {
		t.Errorf("Size is %d, of %d bytes in %d: %v, %v", size, len(b), cap(b), err, wrong)
	}
	if lines := strings.Split(string(b), "\n"); len(lines) != 1000 || lines[999] != "1000=member-999.member.default.svc.cluster.local:member-999" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	few := map[string]string{"POD_PEERS": set("member", 0, 1)}
	count := func(known map[string]string) float64 {
		return testing.AllocsPerRun(10, func() { _, _ = parsed.Bytes(known) })
	}
	if many, least := count(known), count(few); many > least {
		t.Errorf("%v allocations for 1000 peers, %v for 2", many, least)
	}
	// More than a rendered source may become: only the size is asked.
	for _, one := range []string{"$(POD_PEERS)", "$(POD_PEERS:{fqdn})", "$(POD_PEERS:{ordinal+1})", "$(POD_PEERS[;])"} {
		parsed, err := reference.Parse(strings.Repeat(one, 1<<20/len(one)), documented)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if size, err := parsed.Size(known); size < 1<<27 || err != nil {
			t.Errorf("%s: %d, %v", one, size, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s takes %v", one, took)
		}
	}
	if needs := parsed.Needs(); !slices.Equal(needs, []string{"POD_PEERS"}) {
		t.Errorf("it needs %q", needs)
	}
}
