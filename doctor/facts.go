package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/text"
)

// facts is what one server has told. One goroutine gathers them; the checks read them
// afterwards.
type facts struct {
	name  string
	node  backend.Node
	do    func(ctx context.Context, args ...any) (any, error)
	limit time.Duration // for one reply
	key   string        // of the trials, with the prefix
	turn  chan struct{} // full while do runs

	silent error // set once a command was not answered in time; nothing is sent after that

	connectErr error           // of the first command
	trips      []time.Duration // round trips

	info           map[string]string
	infoErr        error
	config         map[string]string
	configErr      error
	offset, margin time.Duration // of the server's clock from ours, and the error of the measurement
	clockRead      bool
	clockErr       error
	rights         rights
	heardErr       error // why notifications do not arrive
	marker         string
	markerErr      error
	damaged        []string // what is wrong with bookkeeping keys
	scanned        int
	complete       bool // all keys were looked at
	scanErr        error
	failed         bool // a check of this server has failed
}

// slowest is for how many limits a server may keep answering slowly.
const slowest = 10

var errSlow = errors.New("the server answers too slowly")

// gather asks the server for everything.
func (f *facts) gather(ctx context.Context, x *examination) {
	ctx, cancel := context.WithTimeoutCause(ctx, slowest*f.limit, errSlow)
	defer cancel()
	if f.connect(ctx); f.connectErr != nil {
		return
	}
	f.readInfo(ctx)
	if f.mode() == "sentinel" {
		return // it knows none of the other commands
	}
	f.readConfig(ctx)
	f.readClock(ctx)
	f.tryRights(ctx, x)
	f.listen(ctx, x)
	f.readMarker(ctx, x)
	f.scan(ctx, x)
}

// ask sends a command, and waits for its reply within the limit. If there is none, it
// sends nothing from then on. So a server that hangs costs the limit only once. A command
// that was left behind when ctx ended is waited for, within the limit.
func (f *facts) ask(ctx context.Context, args ...string) (any, error) {
	switch {
	case f.silent != nil:
		return nil, f.silent
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	start := time.Now()
	v, err := f.send(limited, args)
	err = backend.MarkTimeout(backend.HideAddress(err))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		f.silent = fmt.Errorf("%s was not answered within %v", args[0], short(time.Since(start)))
		err = f.silent
	case code(err) != "":
		err = backend.MarkReply(err)
	}
	return v, err
}

// send calls Do when it is the turn of this command, and waits until ctx ends.
func (f *facts) send(ctx context.Context, args []string) (any, error) {
	type answer struct {
		v   any
		err error
	}
	words := make([]any, len(args))
	for i, a := range args {
		words[i] = a
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-f.turn }()
		v, err := f.do(ctx, words...)
		answers <- answer{v, err}
	}()
	select {
	case a := <-answers:
		return a.v, a.err
	case <-ctx.Done(): // Do may ignore its ctx
		return nil, ctx.Err()
	}
}

// refusal returns why command gave nothing, as a reason for what is not checked.
func refusal(command string, err error) error {
	switch code(err) {
	case "NOPERM":
		return fmt.Errorf("the user may not run %s", command)
	case "ERR":
		return fmt.Errorf("the server does not know %s, or rejects it: %s", command, text.Line(err.Error()))
	}
	return fmt.Errorf("%s failed: %s", command, text.Line(err.Error()))
}

// readInfo reads the default sections of INFO.
func (f *facts) readInfo(ctx context.Context) {
	reply, err := f.ask(ctx, "INFO")
	if err != nil {
		f.infoErr = refusal("INFO", err)
		return
	}
	all, ok := textOf(reply)
	if !ok {
		f.infoErr = refusal("INFO", errReply)
		return
	}
	f.info = map[string]string{}
	for line := range strings.Lines(all) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			f.info[name] = value
		}
	}
}

// parameters are the settings that checks use. CONFIG GET * would return passwords too.
var parameters = []string{
	"appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy",
	"maxclients", "timeout", "client-output-buffer-limit",
}

// readConfig reads the parameters one by one, because servers before Redis 7 accept only
// one name. It stops at the first that is rejected.
func (f *facts) readConfig(ctx context.Context) {
	f.config = map[string]string{}
	for _, name := range parameters {
		reply, err := f.ask(ctx, "CONFIG", "GET", name)
		if err != nil {
			f.configErr = refusal("CONFIG GET", err)
			return
		}
		pairs, ok := pairsOf(reply)
		if !ok {
			f.configErr = refusal("CONFIG GET", errReply)
			return
		}
		if value, ok := pairs[name]; ok {
			f.config[name] = value
		}
	}
}

// value returns a field of INFO, or if INFO has none, a parameter of CONFIG. Either name
// may be empty. The error is the reason why neither is known.
func (f *facts) value(field, parameter string) (string, error) {
	if v, ok := f.info[field]; ok && field != "" {
		return v, nil
	}
	if v, ok := f.config[parameter]; ok && parameter != "" {
		return v, nil
	}
	switch {
	case field != "" && f.infoErr != nil:
		return "", f.infoErr
	case parameter != "" && f.configErr != nil:
		return "", f.configErr
	case field == "":
		return "", fmt.Errorf("CONFIG GET does not return %s", parameter)
	}
	return "", fmt.Errorf("INFO does not return %s", field)
}
