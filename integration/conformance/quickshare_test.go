package conformance

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

var (
	//go:embed testdata/plant.lua
	plantText string
	//go:embed testdata/show.lua
	showText string
)

// The fast paths of the acquire and the release of a reader do what the rest of these scripts would
// do, for all arguments, states and rights, and on a full server: the reply is the same, and so is
// the state left behind. A third copy of the state shows which cases the fast path handles. Only a
// user who lost a right after the acquire may release where the rest of the script would fail.
func TestQuickShare(t *testing.T) {
	const cases, some = 2000, 5
	acquire := cutQuick(t, lua.AcquireShared, "local may = redis.acl_check_cmd\n")
	release := cutQuick(t, lua.ReleaseShared, "if held == '~shared' and not ARGV[2] then\n")
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		b := newShareBench(t, kind)
		rng := rand.New(rand.NewPCG(*firstSeed, 1))
		taken, met := map[string]int{}, map[string]int{}
		for i := range cases {
			c, s := newShareCase(rng), release
			if c.denied == "pexpiretime" && kind.Before(7, 0) { // no such command
				c.denied = "exists"
			}
			if c.acquires {
				s = acquire
			}
			whole, rest, quick := b.run(t, c, s)
			if quick.reply == "[rest]" {
				quick = rest
			} else {
				taken[s.whole.Name()]++
				for _, odd := range c.odd {
					met[odd]++
				}
				if !c.acquires && slices.Contains([]string{"time", "zscore", "zrem"}, c.denied) {
					rest = outcome{"[1]", quick.left} // the fast path does not need them
				}
			}
			if whole != rest || quick != rest {
				t.Fatalf("case %d of seed %d: %v\n whole: %v\n quick: %v\n  rest: %v", i, *firstSeed, c, whole, quick, rest)
			}
		}
		t.Logf("the fast path has handled %v of %d; with oddities: %v", taken, cases, met)
		if kind == servers.Redis60 { // it cannot say what a user may do
			if taken["acquireshared"] > 0 {
				t.Errorf("%d acquires took the fast path, want none", taken["acquireshared"])
			}
			taken["acquireshared"] = cases / 8
		}
		for _, name := range []string{"acquireshared", "releaseshared"} {
			if taken[name] < cases/10 || taken[name] > cases*2/5 {
				t.Errorf("%d of %d cases are a %s that took the fast path, want at least a tenth, but not all", taken[name], cases, name)
			}
		}
		for _, odd := range []string{"denied", "arguments"} {
			if met[odd] < some {
				t.Errorf("%d cases took the fast path despite odd %s, want some", met[odd], odd)
			}
		}
	})
}

// A shareBench is a server for such cases, and a user whose rights change.
type shareBench struct {
	server       *servers.Server
	all, limited backend.Node
	plant, show  *backend.Script
}

func newShareBench(t *testing.T, kind servers.Kind) *shareBench {
	server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
	server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all")
	b := &shareBench{
		server, drivers.All[0].Node(t, server.Addr()), drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr()),
		scriptOf("plant", plantText), scriptOf("show", showText),
	}
	hears(t, b.all, "inbox")
	return b
}

// An outcome is what a script replies and leaves.
type outcome struct{ reply, left string }

// run runs a script, its rest and its fast path, each on a copy of the state of c. It begins again
// if that has taken so long that a reservation may have ended.
func (b *shareBench) run(t *testing.T, c *shareCase, s parted) (whole, rest, quick outcome) {
	for {
		began := time.Now()
		for _, which := range shareCopies {
			eval(t, b.all, b.plant, shareKeysOf(which), c.commands(which)...)
		}
		if c.denied != "" {
			b.server.SetUser(t, "locker", "-"+c.denied)
		}
		if c.full {
			b.server.Do(t, "CONFIG", "SET", "maxmemory", 1)
		}
		replies := [3]string{}
		for i, script := range []*backend.Script{s.whole, s.rest, s.quick} {
			replies[i] = c.run(t, b.limited, script, shareCopies[i])
		}
		if c.full {
			b.server.Do(t, "CONFIG", "SET", "maxmemory", 0)
		}
		if c.denied != "" {
			b.server.SetUser(t, "locker", "+"+c.denied)
		}
		outcomes := [3]outcome{}
		for i, which := range shareCopies {
			outcomes[i] = outcome{replies[i], inSteps(fmt.Sprintf("%q", eval(t, b.all, b.show, shareKeysOf(which))))}
		}
		if time.Since(began) < 500*time.Millisecond {
			return outcomes[0], outcomes[1], outcomes[2]
		}
	}
}

// parted is a script with its fast path and without it, and the fast path alone.
type parted struct{ whole, rest, quick *backend.Script }

// cutQuick parts a script whose fast path begins with these words.
func cutQuick(t *testing.T, s *backend.Script, begins string) parted {
	t.Helper()
	const end = "\nend\n"
	before, from, ok := strings.Cut(s.Source(), begins)
	quick, rest, found := strings.Cut(from, end)
	if !ok || !found || strings.Contains(before+quick, "local function") || !strings.Contains(rest, "local function inboxes(") {
		t.Fatalf("%s does not begin with its fast path: %q", s.Name(), quick)
	}
	return parted{s, scriptOf(s.Name(), before+rest), scriptOf(s.Name(), before+begins+quick+end+"return 'rest'\n")}
}

var shareCopies = []string{"whole", "rest", "quick"}

// shareKeysOf are the keys of a copy: the lock, the queue, the readers and the marker.
func shareKeysOf(which string) []string {
	return []string{which + ":lock", which + ":queue", which + ":readers", which + ":marker"}
}

// A shareCase is an acquire or a release of the reader "token", and the state before it.
type shareCase struct {
	acquires bool
	planted  []string // commands, with KEY: before each key
	told     int      // number of keys that are passed
	args     []string
	denied   string // a command that the user may not run
	full     bool   // the server has no memory
	odd      []string
}

// newShareCase returns a case that should take the fast path, except for up to two odd parts.
func newShareCase(rng *rand.Rand) *shareCase {
	c := &shareCase{acquires: rng.IntN(2) == 0, told: 3}
	from := func(of ...string) string { return of[rng.IntN(len(of))] }
	add := func(words ...string) { c.planted = append(c.planted, strings.Join(words, "\n")) }
	parts := []string{"lock", "readers", "queue", "marker", "arguments", "denied", "denied", "memory"}
	for range rng.IntN(3) {
		if odd := parts[rng.IntN(len(parts))]; !slices.Contains(c.odd, odd) {
			c.odd = append(c.odd, odd)
		}
	}
	strange := func(part string) bool { return slices.Contains(c.odd, part) }

	// The lock expires with the last share, and so does the set.
	shares, last := map[string]int{}, 0
	if !c.acquires {
		shares["token"] = 60
	}
	if strange("readers") {
		if rng.IntN(3) == 0 {
			delete(shares, "token")
		}
		for range rng.IntN(4) {
			shares[from("token", "other", "another", "", "token\x00")] = []int{-60, 30, 60, 120}[rng.IntN(4)]
		}
	}
	for token, seconds := range shares {
		add("ZADD", "KEY:readers", fmt.Sprintf("@%d", seconds*1000), token)
		last = max(last, seconds)
	}
	shared := len(shares) > 0 && (!c.acquires || rng.IntN(2) == 0) // otherwise the set is stale
	if strange("readers") && rng.IntN(8) == 0 {
		add("DEL", "KEY:readers")
		add(from("RPUSH", "SET"), "KEY:readers", "x")
	} else if last > 0 {
		add("PEXPIREAT", "KEY:readers", fmt.Sprintf("@%d", last*1000))
	} else {
		add("DEL", "KEY:readers")
	}
	if shared && last > 0 {
		add("SET", "KEY:lock", sharedText)
		add("PEXPIREAT", "KEY:lock", fmt.Sprintf("@%d", last*1000))
	}
	if strange("lock") {
		add("DEL", "KEY:lock")
		switch rng.IntN(8) {
		case 0:
		case 1:
			add("RPUSH", "KEY:lock", "x")
		default:
			add("SET", "KEY:lock", from(sharedText, "token", "other", "", "~1000:inbox", "~91000:inbox", "~91000:deaf", "~"))
			if rng.IntN(4) > 0 {
				add("PEXPIRE", "KEY:lock", "180000")
			}
		}
	}
	if strange("queue") {
		switch rng.IntN(6) {
		case 0:
			add(from("RPUSH", "SET"), "KEY:queue", "x")
		default:
			for range 1 + rng.IntN(3) {
				add("ZADD", "KEY:queue", strconv.Itoa(rng.IntN(3)), from("1000:inbox", "91000:inbox", "91000:deaf", "1000:deaf", "90999:inbox", "x"))
			}
			add("PEXPIRE", "KEY:queue", "300000")
		}
	}

	ttl, ticket, waited, length, reads := "60000", "", "", "", ""
	c.args = []string{"token"}
	if c.acquires {
		if strange("arguments") {
			switch rng.IntN(3) {
			case 0:
				ttl = from("9999999999999999", "1234567890123456", "999999999999999", from(oddNumbers...))
				if ttl == "1" { // it would have ended before anybody looks
					ttl = "060000"
				}
			case 1:
				ticket, waited = from("91000:inbox", "91000:deaf", "1000:inbox", "x"), from("0", "1000", "", "x")
			default:
				reads = from("1", "0")
			}
		}
		if strange("marker") {
			c.told, length = 4, from("100000", "0", "", "x")
			if rng.IntN(2) == 0 {
				add(from("SET", "RPUSH"), "KEY:marker", "0123456789abcdef 0")
			}
		}
		c.args = append(c.args, ttl, ticket, waited, length, reads)
	} else if strange("arguments") {
		c.args = append(c.args, from("", "91000:inbox", "1000:deaf"), from("", "channel"))
	}
	for len(c.args) > 1 && c.args[len(c.args)-1] == "" && rng.IntN(4) > 0 { // empty arguments may be omitted
		c.args = c.args[:len(c.args)-1]
	}
	if strange("arguments") && rng.IntN(8) == 0 {
		c.args[0] = from("", "other", sharedText)
	} else if strange("arguments") && rng.IntN(6) == 0 {
		c.args = c.args[:rng.IntN(2)]
	}
	if strange("denied") {
		c.denied = from("get", "set", "del", "exists", "time", "pexpiretime", "pexpireat", "zadd", "zscore", "zrem", "zrange", "zpopmin", "pttl", "publish", "hget")
	}
	c.full = strange("memory")
	return c
}

const sharedText = "~shared"

// commands returns the commands that plant the state of a copy.
func (c *shareCase) commands(which string) []string {
	commands := make([]string, len(c.planted))
	for i, command := range c.planted {
		commands[i] = strings.Replace(command, "KEY:", which+":", 1)
	}
	return commands
}

var (
	inScript = regexp.MustCompile(`,? script: .*$| \(call to f_.*$|@user_script: ?[0-9]+: `)
	someTime = regexp.MustCompile(`\b[0-9]{4,}\b`)
)

// run runs a script on a copy, and returns its reply or its error. Times are shown in steps of ten
// seconds, because they differ a little, and neither the place in the script nor the copy is shown.
func (c *shareCase) run(t *testing.T, node backend.Node, s *backend.Script, which string) string {
	op := backend.Op{Kind: backend.OpEval, Script: s, Keys: shareKeysOf(which)[:c.told], Args: c.args}
	r := op.Do(t.Context(), node)
	text := fmt.Sprint([]any(r.Reply))
	if r.Err != nil {
		text = r.Err.Error()
	}
	return inSteps(strings.ReplaceAll(inScript.ReplaceAllString(text, ""), which+":", ""))
}

// inSteps shows durations in steps of ten seconds, and no points in time.
func inSteps(text string) string {
	return someTime.ReplaceAllStringFunc(text, func(ms string) string {
		if len(ms) > 12 {
			return "now"
		}
		n, _ := strconv.ParseFloat(ms, 64)
		return fmt.Sprintf("%.0f steps", n/10_000)
	})
}

func (c *shareCase) String() string {
	name := "release"
	if c.acquires {
		name = "acquire"
	}
	text := fmt.Sprintf("%s with %q on %d keys, odd: %v", name, c.args, c.told, c.odd)
	if c.denied != "" {
		text += ", without " + c.denied
	}
	for _, command := range c.planted {
		text += fmt.Sprintf("\n  %q", command)
	}
	return text
}
