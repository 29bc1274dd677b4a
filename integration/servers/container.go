package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"

	"github.com/quorumlock/quorumlock/internal/port"
)

// containers is the rung of Docker containers. testcontainers-go makes them. For what it cannot
// do, this package calls Docker itself.
//
// Each server's port is published at the same loopback port, which is chosen here, because Docker
// would choose another port at every start.
type containers struct {
	docker client.APIClient
	owner  *owner
	list   []Kind
	images map[Kind]string
}

// official are the names of the images that a registry has.
var official = []struct {
	kind  Kind
	image string
}{
	{Redis70, "redis:7.0"},
	{Redis60, "redis:6.0"},
	{Redis80, "redis:8.0"},
	{Valkey81, "valkey/valkey:8.1"},
}

const imagesHint = "integration/images/build makes them"

func openContainers(ctx context.Context, env settings) (rung, string, error) {
	// Its reaper needs another image. This package removes what it started, and what a dead
	// process has left (owner.go).
	if _, set := os.LookupEnv("TESTCONTAINERS_RYUK_DISABLED"); !set {
		os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	}
	log.SetDefault(log.NewNoopLogger())

	probe, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(probe)
	if err != nil {
		return nil, "", err
	}
	if _, err := docker.Ping(probe, client.PingOptions{}); err != nil {
		return nil, "", err
	}
	if host := docker.DaemonHost(); !local(host) {
		return nil, "", fmt.Errorf("docker runs at %s, and its ports cannot be reached by loopback", host)
	}
	version, err := docker.ServerVersion(probe, client.ServerVersionOptions{})
	if err != nil {
		return nil, "", err
	}

	removeStaleFolders() // of clocks
	r := &containers{docker: docker, images: map[Kind]string{}}
	made, missing := r.findImages(ctx)
	switch {
	case len(r.list) == 0:
		return nil, "", fmt.Errorf("docker %s has no image (%s): %s", version.Version, imagesHint, strings.Join(missing, "; "))
	case len(missing) > 0 && env.require:
		return nil, "", fmt.Errorf("images are missing (%s): %s", imagesHint, strings.Join(missing, "; "))
	case len(missing) > 0:
		made = append(made, "but "+strings.Join(missing, "; "))
	}
	if r.owner, err = newOwner(); err != nil {
		return nil, "", err
	}
	if err := r.removeStale(ctx); err != nil {
		r.close()
		return nil, "", err
	}
	return r, fmt.Sprintf("%s (docker %s)", strings.Join(made, ", "), version.Version), nil
}

// local reports whether the daemon at host publishes ports on this machine.
func local(host string) bool {
	scheme, addr, _ := strings.Cut(host, "://")
	if scheme == "unix" || scheme == "npipe" {
		return true
	}
	name, _, err := net.SplitHostPort(addr)
	return err == nil && (name == "localhost" || net.ParseIP(name).IsLoopback())
}

// findImages finds an image for each kind: one that was built here, or else the official one,
// which is pulled if necessary.
func (r *containers) findImages(ctx context.Context) (made, missing []string) {
	var pullFailed error
	for _, o := range official {
		image := ""
		for _, name := range []string{"quorumlock/" + string(o.kind), o.image} {
			if _, err := r.docker.ImageInspect(ctx, name); err == nil {
				image = name
				break
			}
		}
		if image == "" && pullFailed == nil {
			if pullFailed = r.pull(ctx, o.image); pullFailed == nil {
				image = o.image
			}
		}
		if image == "" {
			missing = append(missing, fmt.Sprintf("no %s: %v", o.kind, pullFailed))
			continue
		}
		r.images[o.kind] = image
		r.list = append(r.list, o.kind)
		made = append(made, fmt.Sprintf("%s from %s", o.kind, image))
	}
	return made, missing
}

// pull soon gives up on a registry that does not answer, but not on a slow one.
func (r *containers) pull(ctx context.Context, image string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(10*time.Second, func() { cancel(errors.New("the registry does not answer")) })
	defer silent.Stop()
	pulling, err := r.docker.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		silent.Stop()
		slow := time.AfterFunc(3*time.Minute, func() { cancel(errors.New("the download takes too long")) })
		defer slow.Stop()
		err = pulling.Wait(ctx)
		pulling.Close()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (r *containers) kinds() []Kind { return r.list }

func (r *containers) supports(*spec) error { return nil }

func (r *containers) close() {
	r.owner.close()
	r.docker.Close()
}

// removeStale removes the containers of dead processes of this machine.
func (r *containers) removeStale(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := r.docker.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: make(client.Filters).Add("label", ownerLabel),
	})
	if err != nil {
		return err
	}
	return concurrently(len(found.Items), func(i int) error {
		if !stale(ctx, found.Items[i].Labels[ownerLabel]) {
			return nil
		}
		return r.remove(ctx, found.Items[i].ID)
	})
}

func (r *containers) remove(ctx context.Context, id string) error {
	_, err := r.docker.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && (strings.Contains(err.Error(), "No such container") || strings.Contains(err.Error(), "already in progress")) {
		return nil // another process also removes stale containers
	}
	return err
}

// run runs a container that publishes ports, or shares the network of in. It uses the clock dial
// if dial is not nil.
func (r *containers) run(ctx context.Context, image string, cmd []string, files map[string][]byte, ports []int, in group, dial *clock) (*box, error) {
	opts := []testcontainers.ContainerCustomizer{
		testcontainers.WithLogger(log.NewNoopLogger()),
		testcontainers.WithCmd(cmd...),
		testcontainers.WithLabels(map[string]string{ownerLabel: r.owner.label}),
	}
	for name, content := range files {
		opts = append(opts, testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader:            bytes.NewReader(content),
			ContainerFilePath: "/data/" + name,
			FileMode:          0o666, // because official images run as another user
		}))
	}
	if shared, ok := in.(*box); ok {
		ports = nil
		opts = append(opts, testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
			c.NetworkMode = container.NetworkMode("container:" + shared.id)
		}))
	}
	if dial != nil {
		const folder = "/clock"
		opts = append(opts,
			testcontainers.WithEnv(map[string]string{
				"LD_PRELOAD":       "/data/" + clockLibrary,
				"QUORUMLOCK_CLOCK": folder + "/" + clockFile,
			}),
			testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
				c.Binds = append(c.Binds, dial.dir()+":"+folder)
			}))
	}
	bindings := network.PortMap{}
	for _, p := range ports {
		name := strconv.Itoa(p) + "/tcp"
		bindings[network.MustParsePort(name)] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(p)}}
		opts = append(opts, testcontainers.WithExposedPorts(name))
	}
	if len(ports) > 0 {
		opts = append(opts, testcontainers.WithHostConfigModifier(func(c *container.HostConfig) { c.PortBindings = bindings }))
	}
	c, err := testcontainers.Run(ctx, image, opts...)
	if err != nil {
		if c != nil {
			r.remove(context.WithoutCancel(ctx), c.ID)
		}
		if strings.Contains(err.Error(), "already allocated") || strings.Contains(err.Error(), "already in use") {
			err = fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return nil, err
	}
	return &box{r: r, c: c, id: c.ID, ports: ports}, nil
}

func (r *containers) launch(ctx context.Context, s *spec, p int, in group) (machine, error) {
	return r.run(ctx, r.images[s.kind], s.command(strconv.Itoa(p)), s.files, []int{p}, in, s.dial)
}

// group runs a container that only owns the network which the others share, and publishes their
// ports. So 127.0.0.1 and a port mean the same server to the test and to the servers themselves,
// and each server can be killed separately.
func (r *containers) group(ctx context.Context, kind Kind, ports []int) (group, error) {
	return r.run(ctx, r.images[kind], []string{"sleep", "infinity"}, nil, ports, nil, nil)
}

// box is a container.
type box struct {
	r     *containers
	c     *testcontainers.DockerContainer
	id    string
	ports []int // that it publishes
}

// Each call closes its connection to Docker, because tests count goroutines.

func (b *box) pause(ctx context.Context) error {
	defer b.r.docker.Close()
	_, err := b.r.docker.ContainerPause(ctx, b.id, client.ContainerPauseOptions{})
	return err
}

func (b *box) resume(ctx context.Context) error {
	defer b.r.docker.Close()
	_, err := b.r.docker.ContainerUnpause(ctx, b.id, client.ContainerUnpauseOptions{})
	return err
}

func (b *box) kill(ctx context.Context) error {
	defer b.r.docker.Close()
	_, err := b.r.docker.ContainerKill(ctx, b.id, client.ContainerKillOptions{Signal: "KILL"})
	if err != nil {
		return err
	}
	wait := b.r.docker.ContainerWait(ctx, b.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
	case err := <-wait.Error:
		if err != nil {
			return err
		}
	}
	return b.refused(ctx)
}

func (b *box) stop(ctx context.Context) error {
	if err := b.c.Stop(ctx, nil); err != nil {
		return err
	}
	return b.refused(ctx)
}

// refused waits until Docker has freed the published ports.
func (b *box) refused(ctx context.Context) error {
	for _, p := range b.ports {
		for {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", port.Addr(p))
			if errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
			if err == nil {
				conn.Close()
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			sleep(ctx, poll)
		}
	}
	return nil
}

func (b *box) start(ctx context.Context) error { return b.c.Start(ctx) }

func (b *box) remove(ctx context.Context) error { return b.r.remove(ctx, b.id) }

func (b *box) gone(ctx context.Context) error {
	state, err := b.c.State(ctx)
	if err != nil || state.Running {
		return err
	}
	var text []byte
	if logs, err := b.c.Logs(ctx); err == nil {
		text, _ = io.ReadAll(logs)
		logs.Close()
	}
	return fmt.Errorf("it ended with %d: %s", state.ExitCode, lastLines(text))
}

// lastLines returns the end of a log, for an error.
func lastLines(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
