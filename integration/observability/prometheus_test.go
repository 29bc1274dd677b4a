package observability

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
)

// patience is how long a test waits for something that happens within seconds on an idle machine.
const patience = 2 * time.Minute

// program returns the path of a program, or ends the test with the reason if there is none.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		servers.Require(t, "the program %s (Debian's package prometheus): %v", name, err)
	}
	return path
}

// A prometheus is a running server.
type prometheus struct{ api string }

// startPrometheus starts a server that reads metrics from target and evaluates the rules, both
// every second. It ends with the test.
func startPrometheus(t *testing.T, target, rules string) *prometheus {
	t.Helper()
	path, dir := program(t, "prometheus"), t.TempDir()
	rules, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: locks, static_configs: [{targets: [%q]}]}]
`, rules, target)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	addr := freeAddr(t)
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, diesWithParent()
	started, exited := make(chan error, 1), make(chan struct{})
	go func() { // ends with the server; it keeps its thread, because the server ends with that
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	p := &prometheus{"http://" + addr}
	eventually(t, func() error {
		select {
		case <-exited:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("prometheus ended: %s", text)
		default:
		}
		return get(t.Context(), p.api+"/-/ready", nil)
	})
	return p
}

// freeAddr returns an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %v: %v", patience, err)
		}
		time.Sleep(250 * time.Millisecond) // the pause between two checks
	}
}

// get reads a page, as JSON unless into is nil.
func get(ctx context.Context, page string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %v", resp.Status, into)
	}
	return nil
}

// query evaluates an expression at every half second since start, and returns how many series
// there are, and how many of their values are finite and above 0.
func (p *prometheus) query(ctx context.Context, expr string, start time.Time) (series, positive int, err error) {
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Values [][2]any
			}
		}
	}
	q := url.Values{"query": {expr}, "step": {"0.5"}, "start": {seconds(start)}, "end": {seconds(time.Now())}}
	if err := get(ctx, p.api+"/api/v1/query_range?"+q.Encode(), &answer); err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", expr, err, answer.Error)
	}
	for _, s := range answer.Data.Result {
		for _, v := range s.Values {
			text, _ := v[1].(string)
			if f, err := strconv.ParseFloat(text, 64); err == nil && f > 0 && !math.IsInf(f, 0) {
				positive++
			}
		}
	}
	return len(answer.Data.Result), positive, nil
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// saw returns an error unless an expression has had a value above 0 since start.
func (p *prometheus) saw(t *testing.T, start time.Time, expr string) error {
	t.Helper()
	series, positive, err := p.query(t.Context(), expr, start)
	if err == nil && positive == 0 {
		err = fmt.Errorf("%s: %d series, no value above 0", expr, series)
	}
	return err
}

// sees waits until an expression has had a value above 0 since start.
func (p *prometheus) sees(t *testing.T, start time.Time, expr string) {
	t.Helper()
	eventually(t, func() error { return p.saw(t, start, expr) })
}
