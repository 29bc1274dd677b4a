//go:build !linux

package fencing

const notHere = "Linux, where a server can be made to end with the tests"

func postgreSQL() []*database { return []*database{{name: "PostgreSQL", lack: notHere}} }

func mariaDB() []*database { return []*database{{name: "MariaDB", lack: notHere}} }

func removeStaleFolders() {}
