package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// noArguments rejects arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s takes no argument, but was given %s", cmd.Name(), argument(args[0])))
	}
	return nil
}

// version returns what this program was built from.
func version() string {
	v, revision := "(unknown)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				revision = ", commit " + s.Value[:12]
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "development version"
	}
	return fmt.Sprintf("redlock %s (%s, %s/%s%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision)
}
