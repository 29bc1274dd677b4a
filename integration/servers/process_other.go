//go:build !unix

package servers

import (
	"context"
	"errors"
)

func openProcesses(context.Context, settings) (rung, string, error) {
	return nil, "", errors.New("this system cannot stop a process and let it run on")
}

func removeStaleFolders() {} // there are none
