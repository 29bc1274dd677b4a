//go:build unix

package child

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

var broken = make(chan os.Signal, 1) // nobody listens

// Notify relays to c the signals that are meant for the command, but for those
// that this process was told to ignore (nohup), which the command ignores too.
// A broken pipe is no longer the end of this process.
func Notify(c chan<- os.Signal) {
	for _, s := range []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	} {
		relay(c, s)
	}
	if !signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(broken, syscall.SIGPIPE)
	}
}

// Idle ends what [Start] has begun to relay, until the next Start: nobody is there to be
// stopped but this process.
func Idle() { signal.Reset(syscall.SIGTSTP, syscall.SIGCONT) }

func relay(c chan<- os.Signal, s os.Signal) {
	if !signal.Ignored(s) {
		signal.Notify(c, s)
	}
}

// Ends reports whether sig ends a process by default, and the exit code of a
// process that it has ended.
func Ends(sig os.Signal) (code int, ends bool) {
	switch sig {
	case syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT:
		return 0, false
	}
	return 128 + int(sig.(syscall.Signal)), true
}

// dieWait is how long a process may take to die of a signal that it has sent to itself.
const dieWait = time.Second

// Die ends this process by a signal by which it was asked to end: SIGINT, SIGTERM or SIGHUP.
// A shell tells that from an exit code, and ends a loop; a service manager takes it for a
// regular end. Die returns if sig is nil or another signal, or if this is process 1, which no
// signal of its own ends.
func Die(sig os.Signal) {
	if sig != syscall.SIGINT && sig != syscall.SIGTERM && sig != syscall.SIGHUP || os.Getpid() == 1 {
		return
	}
	signal.Reset(sig)
	_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
	time.Sleep(dieWait)
}

// InBackground reports whether this process ignores interrupts, which a shell without job
// control has all commands do that it does not wait for (&).
func InBackground() bool { return signal.Ignored(syscall.SIGINT) }
