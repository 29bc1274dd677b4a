package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

// columns are the columns of the CSV.
var columns = []string{"work", "nodes", "clients", "implementation", "metric", "value"}

// CSV writes a line for each measurement: the median of the rounds, or the worst round if it
// counts failures. The first line is a comment with the heading.
func CSV(w io.Writer, heading string, r *measure.Results) error {
	if _, err := fmt.Fprintln(w, "#", heading); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, key := range r.Keys() {
		value, _ := r.Value(key)
		if err := out.Write([]string{
			key.Work, strconv.Itoa(key.Nodes), strconv.Itoa(key.Clients), key.Implementation, key.Metric,
			strconv.FormatFloat(value, 'g', 6, 64),
		}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// ReadCSV adds to r what CSV has written.
func ReadCSV(in io.Reader, r *measure.Results) error {
	reader := csv.NewReader(in)
	reader.Comment, reader.FieldsPerRecord = '#', len(columns)
	lines, err := reader.ReadAll()
	if err != nil {
		return err
	}
	for _, line := range lines[min(1, len(lines)):] {
		nodes, nodesErr := strconv.Atoi(line[1])
		clients, clientsErr := strconv.Atoi(line[2])
		value, valueErr := strconv.ParseFloat(line[5], 64)
		for _, err := range []error{nodesErr, clientsErr, valueErr} {
			if err != nil {
				return err
			}
		}
		r.Add(measure.Cell{Work: line[0], Nodes: nodes, Clients: clients, Implementation: line[3]}, line[4], value)
	}
	return nil
}
