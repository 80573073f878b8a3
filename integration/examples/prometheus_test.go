package examples

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/podfqdn/podfqdn/identity/health"
)

// interval is how often the test's Prometheus scrapes its target and evaluates its rules.
const interval = time.Minute

// database holds what was scraped. It is a storage.Queryable by its method queryable.
type database struct {
	all      map[string]*promql.Series
	from, to time.Time
}

// scrape adds one exposition, with the labels that Prometheus adds to those of this target.
func (d *database) scrape(t *testing.T, exposition string, at time.Time, target labels.Labels) {
	t.Helper()
	if d.all == nil {
		d.all, d.from = map[string]*promql.Series{}, at
	}
	d.to = at
	p := textparse.NewPromParser([]byte(exposition), labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, exposition)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var of labels.Labels
		p.Labels(&of)
		b := labels.NewBuilder(of)
		target.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
		of = b.Labels()
		s := d.all[of.String()]
		if s == nil {
			s = &promql.Series{Metric: of}
			d.all[of.String()] = s
		}
		_, _, value := p.Series()
		s.Floats = append(s.Floats, promql.FPoint{T: at.UnixMilli(), F: value})
	}
}

// queryable returns what the engine reads.
func (d *database) queryable() storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			set := new(seriesSet)
			for _, s := range d.all {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }) {
					*set = append(*set, promql.NewStorageSeries(*s))
				}
			}
			slices.SortFunc(*set, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
			*set = append(seriesSet{nil}, *set...)
			return set
		},
	}}
}

// seriesSet is a storage.SeriesSet whose first element is the one before Next.
type seriesSet []storage.Series

func (s *seriesSet) Next() bool                        { *s = (*s)[1:]; return len(*s) > 0 }
func (s *seriesSet) At() storage.Series                { return (*s)[0] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// firing returns the names of the alerts of which one fires at the end, sorted, and the text of their annotations.
func (d *database) firing(t *testing.T, alerts []alert) (names, texts []string) {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	for _, a := range alerts {
		active := map[string]time.Time{}
		for at := d.from; !at.After(d.to); at = at.Add(interval) {
			q, err := engine.NewInstantQuery(t.Context(), d.queryable(), nil, a.expr, at)
			if err != nil {
				t.Fatalf("%s: %v", a.name, err)
			}
			result := q.Exec(t.Context())
			vector, err := result.Vector()
			if err != nil {
				t.Fatalf("%s: %v", a.name, err)
			}
			if len(result.Warnings) > 0 {
				t.Errorf("%s: %v", a.name, result.Warnings)
			}
			still := map[string]time.Time{}
			for _, sample := range vector {
				key := sample.Metric.String()
				since, ok := active[key]
				if !ok {
					since = at
				}
				still[key] = since
				if at.Equal(d.to) && at.Sub(since) >= a.hold {
					names = append(names, a.name)
					for _, text := range a.texts {
						texts = append(texts, a.expand(t, text, sample))
					}
				}
			}
			active = still
			q.Close()
		}
	}
	slices.Sort(names)
	return slices.Compact(names), texts
}

// alert is one of a PrometheusRule.
type alert struct {
	name, expr string
	hold       time.Duration // "for"
	texts      []string      // the annotations
}

// expand returns an annotation as Prometheus shows it. A label that the alert does not have is an error.
func (a alert) expand(t *testing.T, text string, sample promql.Sample) string {
	t.Helper()
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	define := "{{$labels := .Labels}}{{$value := .Value}}"
	out, err := template.NewTemplateExpander(t.Context(), define+text, a.name, data, model.TimeFromUnix(0), nil, nil, []string{"missingkey=error"}).Expand()
	if err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	return out
}

// labelsOf returns the metrics of an expression, and the labels that it names with each.
func labelsOf(t *testing.T, expr string) map[string][]string {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	all := map[string][]string{}
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, m := range selector.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				all[selector.Name] = append(all[selector.Name], m.Name)
			}
		}
		if all[selector.Name] == nil {
			all[selector.Name] = []string{}
		}
		for _, above := range path {
			switch n := above.(type) {
			case *parser.BinaryExpr:
				if n.VectorMatching != nil {
					all[selector.Name] = slices.Concat(all[selector.Name], n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
				}
			case *parser.AggregateExpr:
				all[selector.Name] = append(all[selector.Name], n.Grouping...)
			}
		}
		return nil
	})
	return all
}

// exposition returns what a sidecar answers on /metrics.
func exposition(t *testing.T, h *health.Health) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("/metrics answers %d", w.Code)
	}
	return w.Body.String()
}

// pairs returns labels from name=value pairs.
func pairs(t *testing.T, text string) labels.Labels {
	t.Helper()
	b := labels.NewBuilder(labels.EmptyLabels())
	for pair := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			t.Fatalf("%q is not a label", cmp.Or(pair, text))
		}
		b.Set(name, value)
	}
	return b.Labels()
}

// sample returns one line of an exposition.
func sample(name, labels string, value any) string {
	return fmt.Sprintf("%s{%s} %v\n", name, labels, value)
}
