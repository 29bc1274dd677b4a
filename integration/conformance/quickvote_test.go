package conformance

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
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
	//go:embed testdata/arrange.lua
	arrangeText string
	//go:embed testdata/both.lua
	bothText string
)

// The fast path of a vote does what the rest of the script would do, for all arguments and
// states: the reply is the same, except for the time's fraction of a millisecond, and so is the
// state left behind. The test sets the clock, so that a hint can be exactly at the limit.
func TestQuickVote(t *testing.T) {
	const cases, some = 6000, 5
	quick, slow := bothVotes(t)
	arrange, both := scriptOf("arrange", arrangeText), scriptOf("both", strings.NewReplacer(
		"--[[QUICK]]", quick+slow, "--[[SLOW]]", slow).Replace(bothText))
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		node := drivers.All[0].Node(t, servers.Start(t, kind, 1)[0].Addr())
		rng := rand.New(rand.NewPCG(*firstSeed, 1))
		odd := oddNumbers
		if kind == servers.Embedded { // as an argument of SET, this is a number only there
			odd = slices.DeleteFunc(slices.Clone(odd), func(text string) bool { return text == "+5" })
		}
		taken, met := 0, map[string]int{}
		for i := range cases {
			c := newVoteCase(rng, odd)
			eval(t, node, arrange, append(voteKeysOf("quick"), voteKeysOf("slow")...), append(c.state(), c.state()...)...)
			if c.expires() {
				time.Sleep(2 * time.Millisecond) // until keys with a time to live of 1 ms are gone
			}
			r := eval(t, node, both, append(voteKeysOf("quick"), voteKeysOf("slow")...), c.call()...)
			if len(r) != 6 {
				t.Fatalf("the comparison answers %q", r)
			}
			if r[5] == int64(1) && r[0] != r[1] {
				r[0], r[1] = inMillis(r[0]), inMillis(r[1])
			}
			if r[0] != r[1] || r[2] != r[3] || r[4] != "" {
				t.Fatalf("case %d of seed %d: %s\n quick: %q, %q\n  slow: %q, %q\n%s",
					i, *firstSeed, c, r[0], r[2], r[1], r[3], r[4])
			}
			if r[5] == int64(1) {
				taken++
				for _, what := range c.odd {
					met[what]++
				}
			}
		}
		t.Logf("%d of %d votes took the fast path; with oddities: %v", taken, cases, met)
		if taken < cases/5 || taken > cases*4/5 {
			t.Errorf("%d of %d votes took the fast path, want at least a fifth, but not all", taken, cases)
		}
		for _, what := range []string{"clock", "lock", "queue", "counter", "ttl", "ticket", "waited", "hint", "keep"} {
			if met[what] < some {
				t.Errorf("%d votes took the fast path despite an odd %s, want some", met[what], what)
			}
		}
	})
}

// bothVotes returns the script with only its fast path, which is its first block, and the script
// without it.
func bothVotes(t *testing.T) (quick, slow string) {
	const end = "\nend\n"
	quick, slow, ok := strings.Cut(lua.Vote.Source(), end)
	if !ok || !strings.Contains(quick, "'MGET'") || strings.Contains(slow, "'MGET'") ||
		strings.Contains(quick, "local function") || !strings.Contains(slow, "local function inboxes(") {
		t.Fatalf("the vote does not begin with its fast path: %q", quick)
	}
	return quick + end, slow
}

// inMillis cuts the microseconds off a time, and returns any other text unchanged.
func inMillis(micros any) any {
	n, err := strconv.ParseInt(fmt.Sprint(micros), 10, 64)
	if err != nil {
		return micros
	}
	return strconv.FormatInt(n/1000, 10)
}

func scriptOf(name, text string) *backend.Script {
	sum := sha1.Sum([]byte(text))
	return backend.NewScript(name, text, hex.EncodeToString(sum[:]))
}

// voteKeysOf are the keys of a vote, in the order of its arguments.
func voteKeysOf(which string) []string {
	keys := append(append([]string(nil), voteKeys...), "queue", "marker")
	for i := range keys {
		keys[i] = which + ":" + keys[i]
	}
	return keys
}

// planted is what a key holds: its type, if it exists, and its time to live in milliseconds, or
// "" for no expiry.
type planted struct{ kind, value, ms string }

// A voteCase is a vote, the state before it, and the odd parts of both.
type voteCase struct {
	now    int64      // of the server's clock, in microseconds
	keys   [5]planted // in the order of a vote's keys
	told   int        // number of keys that are passed
	args   []string
	denied string // a command, or a command and a key
	odd    []string
}

// oddNumbers are texts that are not numbers, short numbers, or numbers in an odd form.
var oddNumbers = []string{"", "0", "1", "060000", "00", "-1", "+5", " 5", "5 ", "5\x00", "1e3", "1e99", "0x10", "60000.0", "999999999999999", "9999999999999999", "１", ":", "x"}

// newVoteCase returns a vote that should take the fast path, except for up to three odd parts.
func newVoteCase(rng *rand.Rand, odd []string) *voteCase {
	c := &voteCase{told: 3 + rng.IntN(2)} // with or without the queue
	const second, hour = 1_000_000, 3600 * 1_000_000
	const most = 1<<53 - 1
	from := func(of ...string) string { return of[rng.IntN(len(of))] }
	decimal := func(n int64) string { return strconv.FormatInt(n, 10) }

	strange := map[string]bool{}
	for range rng.IntN(4) {
		strange[from("clock", "lock", "queue", "counter", "tombstone", "marker", "ttl", "ticket", "waited", "hint", "keep", "denied")] = true
	}
	for _, what := range []string{"clock", "lock", "queue", "counter", "tombstone", "marker", "ttl", "ticket", "waited", "hint", "keep", "denied"} {
		if strange[what] {
			c.odd = append(c.odd, what)
		}
	}

	c.now = 1_000_000_250_000*1000 + rng.Int64N(most-1_000_000_500_000*1000)
	if strange["clock"] {
		edges := []int64{0, 41, 250_000, most, most - 1, most - 250_000, most + 250_000, most + 2, 9_999_999_999_999_999, 1e16}
		c.now = edges[rng.IntN(len(edges))]
		if rng.IntN(2) == 0 { // near the time at which the clock gets a sixteenth digit
			c.now = 1e15 - 250_000 + rng.Int64N(500_000)
		}
	}
	hint := c.now - 250_000 + rng.Int64N(500_001)
	hintText := decimal(hint)
	if strange["hint"] {
		hint = []int64{c.now - 250_001, c.now - 250_000, c.now + 250_000, c.now + 250_001, c.now - hour, c.now + hour, 0, 1, most, most + 1, c.now}[rng.IntN(11)]
		hintText = decimal(hint)
		if rng.IntN(2) == 0 {
			hintText = from(append(oddTexts(c.now), fmt.Sprintf("%016d", hint), fmt.Sprintf("%016d", hint), decimal(max(hint, 0)/100)+"e2")...)
		}
	}

	counter := hint - 1 - rng.Int64N(10*second)
	if rng.IntN(4) == 0 {
		counter = hint - 1
	}
	c.keys[1] = planted{"string", decimal(max(counter, 0)), from("", "600000", "1200000")}
	if len(hintText) == 16 { // leading zeros in one or the other
		c.keys[1].value = fmt.Sprintf("%016d", max(counter, 0))
	}
	if strange["counter"] {
		// Few odd counters allow the fast path, so a very old one is drawn more often.
		longAgo := decimal(max(hint-hour, 0))
		c.keys[1].value = from(decimal(hint), decimal(hint+1), longAgo, longAgo, longAgo, longAgo, decimal(hint+hour), decimal(c.now+100_000), decimal(c.now+23*hour),
			decimal(c.now+25*hour), decimal(most), decimal(most-1), decimal(most+1), "0", "41", "")
		if rng.IntN(2) == 0 {
			c.keys[1].value = from(oddTexts(c.now)...)
		}
		switch rng.IntN(12) {
		case 0:
			c.keys[1] = planted{}
		case 1:
			c.keys[1].ms = "1"
		case 2:
			c.keys[1].kind = from("list", "zset")
		}
	}
	if strange["lock"] {
		c.keys[0] = planted{"string", from("token", "token", "token", "other", "", "~30000:inbox", "~token", "token\x00"), from("", "1", "300000")}
		if rng.IntN(8) == 0 {
			c.keys[0].kind = from("list", "zset")
		}
	}
	if strange["queue"] {
		c.keys[3] = planted{from("zset", "zset", "string", "list"), from("30000:inbox", "30000:another"), from("", "300000")}
	}
	if strange["tombstone"] { // always a string, because no other program writes there
		c.keys[2] = planted{"string", from("1", "1", ""), from("1", "300000")}
	}
	length := []string{}
	if strange["marker"] {
		c.told, length = 5, []string{from("1000", "0", "", "x")}
		c.keys[4] = planted{from("", "string", "list"), from("", "0123456789abcdef 0"), ""}
	}

	ttl, keep, ticket, waited := "60000", "3600000", "", ""
	if strange["ttl"] {
		ttl = from(odd...)
	}
	if strange["keep"] {
		keep = from(odd...)
	}
	if strange["ticket"] {
		ticket, waited = from("30000:inbox", "x"), from("0", "1000")
	}
	if strange["waited"] {
		waited = from(odd...)
	}
	if strange["denied"] { // the fast path does not use EXISTS and GET
		c.denied = from("MGET", "SET", "SET lock", "SET counter", "PEXPIRETIME", "TIME")
	}
	c.args = append([]string{"token", ttl, hintText, keep, ticket, waited}, length...)
	for len(c.args) > 4 && c.args[len(c.args)-1] == "" && rng.IntN(4) > 0 { // empty arguments may be omitted
		c.args = c.args[:len(c.args)-1]
	}
	return c
}

// oddTexts are texts that are not valid counters, or are in an odd form. Most have the length of
// a current counter, and some are near the time.
func oddTexts(now int64) []string {
	n := strconv.FormatInt(now, 10)
	digits := n + strings.Repeat("0", 16)
	return []string{
		"0000000000000041", "0" + digits[:15], "00" + digits[:14], digits[:15], digits[:17], "0" + digits[:16],
		digits[:14] + "e2", digits[:14] + "E2", digits[:13] + "e+3", digits[:1] + "." + digits[1:10] + "e+15", "1.00000000000000", digits[:15] + ".",
		fmt.Sprintf("0x%014x", now), fmt.Sprintf("0X%014X", now), "0xffffffffffffff", "0x00000000000000",
		" " + digits[:15], digits[:15] + " ", "\t" + digits[:15], digits[:15] + "\n", "-" + digits[:15], "+" + digits[:15],
		digits[:15] + "\x00", digits[:8] + "\x00" + digits[9:16], "\x00" + digits[:15], strings.Repeat("\x00", 16),
		"inf             ", "nan             ", "             inf", strings.Repeat("x", 16), strings.Repeat(" ", 16), strings.Repeat("\xff", 16), "１" + digits[:13],
		"~30000:inbox1234", "123456789012345:", "1_00000000000000", "1,000,000,000,00",
	}
}

// expires reports whether a key must be gone by the time of the vote.
func (c *voteCase) expires() bool {
	for _, key := range c.keys {
		if key.ms == "1" {
			return true
		}
	}
	return false
}

func (c *voteCase) state() []string {
	var args []string
	for _, key := range c.keys {
		args = append(args, key.kind, key.value, key.ms)
	}
	return args
}

func (c *voteCase) call() []string {
	return append([]string{strconv.FormatInt(c.now/1e6, 10), strconv.FormatInt(c.now%1e6, 10), c.denied, strconv.Itoa(c.told)}, c.args...)
}

func (c *voteCase) String() string {
	text := fmt.Sprintf("a vote of %q on %d keys at %d", c.args, c.told, c.now)
	if c.denied != "" {
		text += ", which may not " + c.denied
	}
	for i, key := range c.keys {
		if key.kind != "" {
			text += fmt.Sprintf("\n key %d is a %s, %q, for %q ms", i+1, key.kind, key.value, key.ms)
		}
	}
	return text
}
