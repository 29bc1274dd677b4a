module github.com/quorumlock/quorumlock/backend/valkey

go 1.25.0

require (
	github.com/quorumlock/quorumlock v0.1.0
	github.com/valkey-io/valkey-go v1.0.76
)

require golang.org/x/sys v0.43.0 // indirect

replace github.com/quorumlock/quorumlock => ../..
