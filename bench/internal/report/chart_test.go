package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
)

func TestChart(t *testing.T) {
	var r measure.Results
	add := func(work string, nodes, clients int, implementation, metric string, value float64) {
		r.Add(measure.Cell{Work: work, Nodes: nodes, Clients: clients, Implementation: implementation}, metric, value)
	}
	add("distinct", 3, 64, peer.Own+"/slow", measure.Rate, 176)
	add("distinct", 3, 64, peer.Own+"/fast", measure.Rate, 222)
	add("distinct", 3, 64, peer.Redsync+"/fast", measure.Rate, 333)
	add("distinct", 3, 64, peer.RedsyncFailFast+"/fast", measure.Rate, 444)
	add("drain", 1, 64, peer.Own+"/slow", measure.Drain, 555)
	add("drain", 1, 64, peer.Own+"/fast", measure.Drain, 501)
	var out strings.Builder
	if err := Chart(&out, "a <foot> & more", &r); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(out.String()))
	var text []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if chars, ok := token.(xml.CharData); ok && strings.TrimSpace(string(chars)) != "" {
			text = append(text, strings.TrimSpace(string(chars)))
		}
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{"3 nodes\nquorumlock\n222\nredsync\n333\nredsync, fail-fast\n444", "1 node\nquorumlock\n501", "a <foot> & more."} {
		if !strings.Contains(all, want) {
			t.Errorf("the chart lacks %q; it says\n%s", want, all)
		}
	}
	for _, not := range []string{"176", "555", "5 nodes", "Fairness", "NaN"} {
		if strings.Contains(all, not) {
			t.Errorf("the chart says %q", not)
		}
	}
}
