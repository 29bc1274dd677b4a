// Package observability tests the dashboard and the alerts of docs/observability on a real
// Prometheus, with the metrics of real locks while servers are killed and restarted.
//
//	go test -v ./observability
//
// It needs the programs prometheus and promtool (Debian's package prometheus).
package observability
