// Package fencing tests package fence on real databases: concurrent transactions at each
// isolation level, and transactions that end early. It also shows that a lock which expires under
// its holder loses no update of a fenced resource. The package has no code outside its tests.
//
// PostgreSQL and MariaDB are programs of this machine, which the tests start in private folders.
// SQLite is embedded. If a database is missing, its tests are skipped with the reason, or fail if
// QUORUMLOCK_REQUIRE_CONTAINERS is set.
package fencing
