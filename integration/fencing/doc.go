// Package fencing holds the tests of package fence on real databases: what transactions side by
// side do, at which isolation, what becomes of one that ends early, and that a lock that expires
// under its holder loses no update of a fenced resource. It has no code of its own.
//
// PostgreSQL and MariaDB are programs of this machine, started in private folders for the
// time of the tests; SQLite is embedded. A database that is not here is skipped by
// name and with the reason, or is a failure where QUORUMLOCK_REQUIRE_CONTAINERS is set.
package fencing
