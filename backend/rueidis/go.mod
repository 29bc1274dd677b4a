module github.com/quorumlock/quorumlock/backend/rueidis

go 1.25.0

require github.com/quorumlock/quorumlock v0.1.0

replace github.com/quorumlock/quorumlock => ../..
