package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Exit codes of all commands except run, campaign and doctor. run and campaign pass on the
// exit codes of another command, so they have their own. doctor tells failures from warnings with 2 and 1.
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
	by   os.Signal // the signal that ends the tool, or nil; code is then 128 and its number
}

func (e *exitError) Error() string { return e.text }

// longestTypo is the longest text that may be a command with a typing error.
const longestTypo = 64

// Sections of the help that cobra does not have.
const (
	environmentSection = "environment"
	exitSection        = "exit"
)

const helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}{{end}}
{{- if .Runnable}}

Usage:
  {{.UseLine}}
{{- end}}
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

"{{.CommandPath}} COMMAND --help" tells more about a command
{{- if not .HasParent}}, and
"redlock help servers" how to name servers{{end}}.{{end}}
`

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "redlock COMMAND",
		Short: "Locks across machines, on Redis or Valkey",
		Long: `redlock lets only one machine at a time do a job, among all machines that share a
Redis or Valkey server. For more safety, keep the lock on 3 or 5 independent servers:
it then works as long as most of them do.`,
		Example: `  redlock demo                                   see it work, no Redis needed
  redlock run backup -- ./backup.sh              one backup at a time, the others wait
  redlock run --wait 0 backup -- ./backup.sh     or they give up at once
  redlock status backup                          who makes one, and who waits?
  redlock lock backup --ttl 5m                   in a script, which calls redlock unlock`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment,
			exitSection: `  0  done
  1  failed
  2  wrong usage
  3  too few servers work (lock, unlock and extend)
"redlock run" and "redlock campaign" end with the exit code of their command, or with
codes of their own.
"redlock doctor" ends with 1 for warnings and 2 for failures.
The exit codes of "redlock status" and "redlock leader" tell what they found.`,
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
			var near []string
			if len(args[0]) <= longestTypo { // the time that it takes grows with the length
				near = cmd.SuggestionsFor(args[0])
			}
			if len(near) > 0 {
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
	acceptNodesFirst(root.Flags())
	root.AddCommand(newRun(), newCampaign(), newLeader(), newLock(), newUnlock(), newExtend(), newStatus(), newBreak(), newDoctor(), newEndQuarantine(), newDemo(), newVersion(), newServers())
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Tell more about a command", RunE: func(cmd *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return usage(root, "there is no command "+argument(strings.Join(args, " ")))
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}})
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			rejectShells(cmd)
		}
	}
	return root
}

// rejectShells makes the completion command fail for a shell that it does not know. By
// itself it prints its help on stdout, with exit code 0, into the file for the completion.
func rejectShells(completion *cobra.Command) {
	completion.Use, completion.DisableFlagsInUseLine = "completion SHELL", true
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(cmd *cobra.Command, args []string) error {
		const form = "bash, fish, powershell or zsh, as in: redlock completion bash"
		if len(args) == 0 {
			return usage(cmd, "the name of a shell is missing: "+form)
		}
		return usage(cmd, "there is no completion for "+argument(args[0])+", but for "+form)
	}
}

// execute runs the tool with args and returns its exit code, and the signal that has ended it,
// or nil.
func execute(args []string, stdout, stderr io.Writer) (code int, by os.Signal) {
	said := &messages{w: stderr}
	defer said.flush()
	root := newRoot(stdout, said)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK, nil
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: exitUsage, text: text.Line(err.Error())} // from cobra
		if file := (*fs.PathError)(nil); errors.As(err, &file) {         // the output cannot be written
			exit.code = exitFailed
		}
		if mayHoldPassword(exit.text) {
			exit.text = `wrong arguments; see "redlock --help"`
		}
	}
	if exit.text != "" {
		printLine(said, exit.text)
	}
	return exit.code, exit.by
}

// usage returns the error for invalid arguments.
func usage(cmd *cobra.Command, text string) error {
	code := exitUsage
	if cmd.Name() == "run" || cmd.Name() == "campaign" || cmd.Name() == "doctor" {
		code = runUsage
	}
	return &exitError{code: code, text: text}
}
