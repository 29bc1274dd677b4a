package main

import (
	"fmt"
	"html"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// The span of the picture, counted from the death of the server.
const (
	pictureStart = -2 * time.Second
	pictureEnd   = 7 * time.Second
	pictureStep  = 100 * time.Millisecond // one bar
)

// A panel is what happened to one set of servers, counted from the death of the first one.
type panel struct {
	title    string
	names    []string // of the servers
	back     time.Duration
	granted  []time.Duration
	failed   []time.Duration
	heldLost time.Duration // 0: the held lock survived
}

// picture kills a server twice, as the only one and as one of three, and draws what its clients
// saw into an SVG file.
func picture(file string) error {
	var panels []panel
	for _, n := range []int{3, 1} {
		title := "One server, which dies"
		if n > 1 {
			title = fmt.Sprintf("%d servers, one of which dies", n)
		}
		err := within(title, func(t *scope) {
			p := watchDeath(t, n)
			p.title = title
			panels = append(panels, p)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
	}
	machine := fmt.Sprintf("%s, %s, clients and servers on %d cores", runtime.Version(), servers.Kinds(&scope{})[0], runtime.NumCPU())
	return os.WriteFile(file, []byte(draw(panels, machine)), 0o644)
}

// watchDeath kills one of n servers with a file of its data, starts it again, and returns what the
// callers of a client saw.
func watchDeath(t *scope, n int) panel {
	scene := killed(t, n, servers.WithAOF())
	to := scene.target
	to.Adapter = drivers.All[0].Name
	c := startClient(t, to)
	c.during(-pictureStart + time.Second) // the first second is a warm-up
	m := scene.hit()
	back := time.Now()
	c.during(time.Until(m.begun.Add(pictureEnd + lag)))

	p := panel{back: back.Sub(m.begun)}
	for i := range n {
		p.names = append(p.names, fmt.Sprintf("server %d", i+1))
	}
	for _, e := range c.locks {
		p.granted = append(p.granted, e.End.Sub(m.begun))
	}
	for _, e := range c.fails {
		p.failed = append(p.failed, e.End.Sub(m.begun))
	}
	if c.lost != nil {
		p.heldLost = c.lost.End.Sub(m.begun)
	}
	return p
}

// The measures of the picture, in pixels.
const (
	pictureWidth = 760
	plotLeft     = 110
	plotWidth    = pictureWidth - plotLeft - 30
	plotHeight   = 80
	rowHeight    = 18
)

const pictureHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-label="Locks granted before, while and after a server is dead, with three servers and with one" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" font-size="11">
<style>
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .dim { fill: #656d76 } .rule { stroke: #d1d9e0 }
  .own { fill: #1a7f5a } .up { fill: #a9b4c0 } .bad { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .dim { fill: #8d96a0 } .rule { stroke: #30363d }
    .own { fill: #3fb68b } .up { fill: #4d5866 } .bad { fill: #f85149 }
  }
</style>
<rect class="paper" width="%[1]d" height="%[2]d" rx="6"/>
`

// draw returns the panels as an SVG image, one below the other.
func draw(panels []panel, machine string) string {
	var b strings.Builder
	top := 0
	for _, p := range panels {
		top = p.draw(&b, top)
	}
	fmt.Fprintf(&b, "<text class=\"dim\" x=\"24\" y=\"%d\">%s</text>\n</svg>\n", top+22, html.EscapeString(machine))
	return fmt.Sprintf(pictureHead, pictureWidth, top+38) + b.String()
}

// at returns the horizontal position of a moment.
func at(d time.Duration) float64 {
	d = min(max(d, pictureStart), pictureEnd)
	return plotLeft + plotWidth*float64(d-pictureStart)/float64(pictureEnd-pictureStart)
}

// draw adds the panel to the image, below top, and returns where it ends.
func (p panel) draw(b *strings.Builder, top int) int {
	text := func(class, anchor string, x float64, y int, format string, args ...any) {
		fmt.Fprintf(b, "<text class=%q x=\"%.1f\" y=\"%d\" text-anchor=%q>%s</text>\n", class, x, y, anchor, html.EscapeString(fmt.Sprintf(format, args...)))
	}
	bar := func(class string, from, to float64, y, height float64, what string) {
		fmt.Fprintf(b, "<rect class=%q x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s</title></rect>\n", class, from, y, to-from, height, html.EscapeString(what))
	}
	fmt.Fprintf(b, "<text class=\"ink\" x=\"24\" y=\"%d\" font-size=\"14\" font-weight=\"600\">%s</text>\n", top+32, html.EscapeString(p.title))

	y := top + 48
	for i, name := range p.names {
		text("dim", "end", plotLeft-8, y+9, "%s", name)
		if i > 0 {
			bar("up", at(pictureStart), at(pictureEnd), float64(y), 10, "works")
		} else {
			bar("up", at(pictureStart), at(0), float64(y), 10, "works")
			bar("up", at(p.back), at(pictureEnd), float64(y), 10, "works again")
			text("bad", "middle", (at(0)+at(p.back))/2, y+9, "dead")
		}
		y += rowHeight
	}
	text("dim", "end", plotLeft-8, y+9, "a held lock")
	if p.heldLost == 0 {
		bar("own", at(pictureStart), at(pictureEnd), float64(y), 10, "held all the time")
	} else {
		bar("own", at(pictureStart), at(p.heldLost), float64(y), 10, "held")
		text("bad", "start", at(p.heldLost)+4, y+9, "lost")
	}
	y += rowHeight + 8

	counts := perStep(p.granted)
	most := 1
	for _, n := range counts {
		most = max(most, n)
	}
	text("dim", "end", plotLeft-8, y+plotHeight/2-4, "new locks")
	text("dim", "end", plotLeft-8, y+plotHeight/2+10, "per %v", pictureStep)
	text("dim", "start", at(pictureEnd)+4, y+8, "%d", most)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		from := pictureStart + time.Duration(i)*pictureStep
		h := plotHeight * float64(n) / float64(most)
		bar("own", at(from), at(from+pictureStep)-1, float64(y+plotHeight)-h, h, fmt.Sprintf("%d locks", n))
	}
	for _, d := range p.failed {
		if d >= pictureStart && d < pictureEnd {
			bar("bad", at(d)-1, at(d)+1, float64(y), plotHeight, "a call failed")
		}
	}
	y += plotHeight
	fmt.Fprintf(b, "<line class=\"rule\" x1=\"%d\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", plotLeft, at(pictureEnd), y, y)
	for d := pictureStart; d <= pictureEnd; d += time.Second {
		text("dim", "middle", at(d), y+14, "%g s", d.Seconds())
	}
	text("dim", "start", plotLeft, y+32, "%s", p.summary())
	return y + 40
}

// perStep counts the moments in each step of the picture.
func perStep(moments []time.Duration) []int {
	counts := make([]int, (pictureEnd-pictureStart)/pictureStep)
	for _, d := range moments {
		if d >= pictureStart && d < pictureEnd {
			counts[(d-pictureStart)/pictureStep]++
		}
	}
	return counts
}

// summary says what the panel shows, in numbers.
func (p panel) summary() string {
	gap, last := time.Duration(0), pictureStart
	for _, d := range p.granted { // in order of time
		if d < pictureStart || d >= pictureEnd {
			continue
		}
		gap = max(gap, d-last)
		last = d
	}
	gap = max(gap, pictureEnd-last)
	failed := 0
	for _, d := range p.failed {
		if d >= pictureStart && d < pictureEnd {
			failed++
		}
	}
	return fmt.Sprintf("%d callers; the longest time without a new lock is %s; %d calls failed; the server is back after %s",
		callers, short(gap), failed, short(p.back))
}
