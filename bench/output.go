package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/report"
	"github.com/quorumlock/quorumlock/bench/internal/work"
)

// report shows the results in every form that was asked for. It returns whether
// they are what was asked for.
func (s *settings) report(b *work.Bench, title string, out io.Writer) (bool, error) {
	if err := report.Table(out, b.Results); err != nil {
		return false, err
	}
	for _, note := range b.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	if s.csv != "" {
		if err := write(s.csv, func(w io.Writer) error { return report.CSV(w, title, b.Results) }); err != nil {
			return false, err
		}
	}
	if s.svg != "" {
		if err := write(s.svg, func(w io.Writer) error { return report.Chart(w, title, b.Results) }); err != nil {
			return false, err
		}
	}
	if !s.bars {
		return true, nil
	}
	fmt.Fprintln(out)
	missed, open := report.Judge(out, report.Bars(), b.Results)
	return missed == 0 && (open == 0 || !s.whole), nil
}

// chart draws the results of earlier runs. Those of the first file say where.
func (s *settings) chart() error {
	var results measure.Results
	title := ""
	for i, name := range s.draw {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if line, _, _ := strings.Cut(string(text), "\n"); i == 0 {
			title = strings.TrimPrefix(line, "# ")
		}
		if err := report.ReadCSV(bytes.NewReader(text), &results); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return write(s.svg, func(w io.Writer) error { return report.Chart(w, title, &results) })
}

// write makes a file.
func write(name string, content func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}
