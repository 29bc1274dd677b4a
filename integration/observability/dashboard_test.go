package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	folder    = "../../docs/observability/"
	dashboard = folder + "dashboard.json"
	alerts    = folder + "alerts.yml"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// promtool accepts the alerts, and each of them fires when it should, and not otherwise.
func TestAlertRules(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tested, err := os.ReadFile(folder + "alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range readAlerts(t) {
		if strings.Count(string(tested), a.Alert) != 2 {
			t.Errorf("alerts_test.yml does not test that %s fires, and that it does not", a.Alert)
		}
	}
}

type alert struct{ Alert, Expr string }

func readAlerts(t *testing.T) []alert {
	t.Helper()
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

// A panel is one of the dashboard, with the expressions that it shows.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

func readPanels(t *testing.T) []panel {
	t.Helper()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Panels []panel }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Panels
}

// chosen puts values in the place of the dashboard's variables, as Grafana does.
var chosen = strings.NewReplacer("$__rate_interval", "10s", "$job", ".*", "$class", ".*")

var (
	grouping = regexp.MustCompile(`\bby \([^)]*\)`)
	selector = regexp.MustCompile(`\bredlock_\w+(\{[^}]*\})?`)
)

// selectors returns the selectors of series in an expression.
func selectors(expr string) []string {
	return selector.FindAllString(grouping.ReplaceAllString(expr, ""), -1)
}

// Every panel of the dashboard and every alert has data, when real locks are used on servers of
// which one fails and comes back without its data, and then a majority fails.
func TestDashboardHasData(t *testing.T) {
	program(t, "prometheus") // before anything starts
	list := servers.Start(t, servers.Any, 3, servers.WithOutages(), servers.WithoutReuse())
	locker, page := instrumented(t, list)
	start := time.Now()
	p := startPrometheus(t, page, alerts)
	work(t, locker)
	p.sees(t, start, `redlock_lock_extensions_total{redlock_automatic="true"}`)

	// One server fails, and comes back without its data.
	list[0].Kill(t)
	p.sees(t, start, `rate(redlock_node_request_duration_seconds_count{redlock_outcome="failed"}[10s])`)
	list[0].Start(t)
	p.sees(t, start, `redlock_node_request_duration_seconds_count{redlock_outcome="quarantined"}`)
	p.sees(t, start, `redlock_node_rejoins_total`)

	// Somebody deletes a lock.
	eventually(t, func() error {
		for _, s := range list {
			s.Do(t, "DEL", "jobs/nightly")
		}
		return p.saw(t, start, `redlock_lock_losses_total{redlock_loss_cause="gone"}`)
	})
	p.sees(t, start, `ALERTS{alertname="RedlockLockLost",alertstate="firing"}`)

	// A majority of the servers fails while somebody has the lock again.
	eventually(t, func() error {
		status, err := locker.Inspect(t.Context(), "jobs/nightly")
		if err == nil && status.State != redlock.StateHeld {
			err = fmt.Errorf("the lock is %v", status.State)
		}
		return err
	})
	for _, s := range list[:2] {
		s.Kill(t)
	}
	p.sees(t, start, `redlock_lock_losses_total{redlock_loss_cause="expired"}`)
	p.sees(t, start, `redlock_lock_wait_duration_seconds_count{error_type="unavailable"}`)
	for _, s := range list[:2] {
		s.Start(t)
	}

	for _, panel := range readPanels(t) {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			t.Run(panel.Title, func(t *testing.T) { p.sees(t, start, chosen.Replace(target.Expr)) })
		}
	}
	for _, a := range readAlerts(t) {
		t.Run(a.Alert, func(t *testing.T) {
			if _, _, err := p.query(t.Context(), a.Expr, start); err != nil {
				t.Error(err)
			}
			found := selectors(a.Expr)
			if len(found) == 0 {
				t.Errorf("no selector in %s", a.Expr)
			}
			for _, s := range slices.Compact(found) {
				p.sees(t, start, s)
			}
		})
	}
	rulesAreHealthy(t, p)
}

// rulesAreHealthy checks that the server has loaded all alerts and can evaluate them.
func rulesAreHealthy(t *testing.T, p *prometheus) {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := get(t.Context(), p.api+"/api/v1/rules", &answer); err != nil {
		t.Fatal(err)
	}
	var loaded []string
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			loaded = append(loaded, r.Name)
			if r.Health != "ok" {
				t.Errorf("%s: %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	var want []string
	for _, a := range readAlerts(t) {
		want = append(want, a.Alert)
	}
	if fmt.Sprint(loaded) != fmt.Sprint(want) {
		t.Errorf("Prometheus has the rules %v, want %v", loaded, want)
	}
}
