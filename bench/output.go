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

// report shows the results in every requested form. It reports whether they met the requested
// bars.
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
	if err := s.fill(title, b.Results); err != nil {
		return false, err
	}
	if !s.bars {
		return true, nil
	}
	fmt.Fprintln(out)
	missed, open := report.Judge(out, report.Bars(), b.Results)
	return missed == 0 && (open == 0 || !s.whole), nil
}

// chart draws the results of earlier runs. The heading is that of the first file.
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
	if s.svg != "" {
		if err := write(s.svg, func(w io.Writer) error { return report.Chart(w, title, &results) }); err != nil {
			return err
		}
	}
	return s.fill(title, &results)
}

// fill writes the results into the requested page.
func (s *settings) fill(title string, r *measure.Results) error {
	if s.page == "" {
		return nil
	}
	old, err := os.ReadFile(s.page)
	if err != nil {
		return err
	}
	page, err := report.Page(string(old), title, r)
	if err != nil {
		return fmt.Errorf("%s: %w", s.page, err)
	}
	return write(s.page, func(w io.Writer) error {
		_, err := io.WriteString(w, page)
		return err
	})
}

// write makes a file.
func write(name string, content func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}
