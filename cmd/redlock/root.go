package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Exit codes of all commands except run. run passes on the exit codes of another command,
// so it has its own.
const (
	exitOK     = 0
	exitFailed = 1 // the tool could not do what it was asked to do
	exitUsage  = 2
)

// An exitError ends the tool with an exit code, and with a line on stderr if it has a
// text.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// Sections of the help that cobra does not have.
const (
	environmentSection = "environment"
	exitSection        = "exit"
)

const helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:
  {{.UseLine}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 90 | trimTrailingWhitespaces}}{{end}}
{{- with index .Annotations "environment"}}

Environment:
{{. | trimTrailingWhitespaces}}{{end}}
{{- with index .Annotations "exit"}}

Exit codes:
{{. | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" tells more about a command.{{end}}
`

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "redlock COMMAND",
		Short: "Locks across machines, on Redis or Valkey",
		Long: `redlock makes sure that of all the machines that share a Redis or Valkey server,
one at a time does a thing. For more safety the lock is kept on several servers
that know nothing of each other (3 or 5): it then works while most of them do.`,
		Example: `  redlock demo                                   see it work, no Redis needed
  redlock run backup -- ./backup.sh              one backup at a time, the others wait
  redlock run --wait 0 backup -- ./backup.sh     or they give up at once`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  done
  1  failed
  2  wrong usage
"redlock run" ends with the exit code of its command, or with codes of its own.`,
		},
		Version: version(),

		DisableFlagsInUseLine: true,

		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(stderr)
				_ = cmd.Help()
				return &exitError{code: exitUsage}
			}
			text := "there is no command " + argument(args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf("; did you mean %q?", "redlock "+near[0])
			} else {
				text += `; "redlock --help" lists them`
			}
			return usage(cmd, text)
		},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetHelpTemplate(helpTemplate)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, flagError(err)) })
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(newRun(), newEndQuarantine(), newDemo(), newVersion())
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Tell more about a command", RunE: func(cmd *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return usage(root, "there is no command "+argument(strings.Join(args, " ")))
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}})
	root.InitDefaultCompletionCmd()
	return root
}

// execute runs the tool with args and returns its exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: exitUsage, text: text.Line(err.Error())} // from cobra
		if mayHoldPassword(exit.text) {
			exit.text = `wrong arguments; see "redlock --help"`
		}
	}
	if exit.text != "" {
		printLine(stderr, exit.text)
	}
	return exit.code
}

// usage returns the error for invalid arguments.
func usage(cmd *cobra.Command, text string) error {
	code := exitUsage
	if cmd.Name() == "run" {
		code = runUsage
	}
	return &exitError{code: code, text: text}
}
