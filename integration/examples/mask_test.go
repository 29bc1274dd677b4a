package examples

import "regexp"

// masks hide what changes with each run.
var masks = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`), "TIMESTAMP"},
	{regexp.MustCompile(`\b(\d+(\.\d+)?(h|ms|m|µs|s))+\b`), "TIME"},
	{regexp.MustCompile(`\bprocess id \d+`), "process id PID"},
	{regexp.MustCompile(`\bweb1:\d+`), "web1:PID"},
	{regexp.MustCompile(`\b[0-9a-f]{8,}\b`), "FINGERPRINT"},
	{regexp.MustCompile(`\b\d+ ok\b`), "N ok"}, // checks of doctor
	{regexp.MustCompile(` +`), " "},            // a table is as wide as what it holds
	{regexp.MustCompile(`(?m) $`), ""},
}

// mask returns text without what changes with each run.
func mask(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.word)
	}
	return text
}
