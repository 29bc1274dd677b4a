package fencing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// folders is the name of the servers' folders, with the number of the test process that owns
// them.
const folders = "quorumlock-fencing-"

// A daemon is a database server in a private folder, which is removed with it. It listens only at
// a Unix socket there.
type daemon struct {
	dir    string
	owner  *syscall.Credential // nil: the user of the test
	cmd    *exec.Cmd
	exited chan struct{}
}

// newDaemon creates the folder. Database servers refuse to run as root. So if the test runs as
// root, the folder belongs to the user of that name, or to nobody.
func newDaemon(name string) (*daemon, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", folders, os.Getpid()))
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir}
	if os.Getuid() == 0 {
		u, err := user.Lookup(name)
		if err != nil {
			u, err = user.Lookup("nobody")
		}
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		d.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return d, nil
}

// command returns a program that runs in the folder and ends with the test process, even if that
// is killed.
func (d *daemon) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+d.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.owner, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	return cmd
}

// prepare runs a program and waits for its end.
func (d *daemon) prepare(path string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := d.command(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", path, err, out)
	}
	return nil
}

// start runs the server and waits until db answers.
func (d *daemon) start(db *sql.DB, path string, args ...string) error {
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = d.command(context.Background(), path, args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.exited = make(chan struct{})
	go func() { // ends with the server
		defer close(d.exited)
		d.cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-d.exited:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s ended: %s", path, text)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// remove ends the server and removes its files.
func (d *daemon) remove() {
	if d.cmd != nil && d.exited != nil {
		d.cmd.Process.Signal(syscall.SIGQUIT) // the fast shutdown of both servers, including their processes
		select {
		case <-d.exited:
		case <-time.After(20 * time.Second):
			syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
			<-d.exited
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		fmt.Println("databases:", err)
	}
}

// removeStaleFolders removes the folders of dead test processes.
func removeStaleFolders() {
	names, _ := filepath.Glob(filepath.Join(os.TempDir(), folders+"*"))
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), folders), "-")
		pid, err := strconv.Atoi(number)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(name)
		}
	}
}

// find returns the path of a program in PATH or in one of the folders, of which the last match
// counts.
func find(name string, folders ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, pattern := range folders {
		if found, _ := filepath.Glob(filepath.Join(pattern, name)); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s, which is neither in PATH nor in %s", name, strings.Join(folders, " or "))
}
