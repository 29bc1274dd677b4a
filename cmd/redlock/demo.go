package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/demo"
)

func newDemo() *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Watch a lock survive a server that dies and one that hangs",
		Long: `Starts three small Redis servers inside this program, and workers that fight over
one counter, under one lock that the three servers keep together. Then it kills a
server, brings it back empty, lets another one hang, and reports what happens.
It needs no other program, and listens on 127.0.0.1 only.`,
		Example: `  redlock demo
  redlock demo --duration 30s --workers 16`,
		Annotations: map[string]string{exitSection: `  0  no update was lost
  1  an update was lost, or a worker failed
  2  wrong usage
  130  interrupted, with nothing lost until then`},
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cfg.Duration < demo.MinDuration:
				return usage(cmd, fmt.Sprintf("--duration is %v: it takes %v at least", cfg.Duration, demo.MinDuration))
			case cfg.Workers < 2 || cfg.Workers > demo.MaxWorkers:
				return usage(cmd, fmt.Sprintf("--workers is %d: it takes 2 to fight, and %d at most", cfg.Workers, demo.MaxWorkers))
			}
			silenceDriver() // the demo reports outages itself
			ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
			defer cancel()
			cfg.Out = interruptible{ctx, cmd.OutOrStdout()}
			err := demo.Run(ctx, cfg)
			switch {
			case errors.Is(err, demo.ErrLost):
				return &exitError{code: exitFailed, text: "demo: " + err.Error() + ". That must not be: please report it."}
			case ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx))): // perhaps nobody reads the output
				return endedBy(os.Interrupt)
			case err != nil:
				return &exitError{code: exitFailed, text: "demo: " + err.Error()}
			}
			_, _ = fmt.Fprintln(cfg.Out, "\nWith servers of your own: redlock run NAME -- COMMAND (see redlock run --help)")
			return nil
		},
	}
	durationVar(cmd.Flags(), &cfg.Duration, "duration", 12*time.Second, "how long it takes")
	cmd.Flags().IntVar(&cfg.Workers, "workers", 5, "how many fight over the counter")
	return cmd
}
