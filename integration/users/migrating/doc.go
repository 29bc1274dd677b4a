// Package migrating tests the code in docs/migrating: each snippet is in a test of this package,
// old and new side by side, and runs there. The programs before and after are one example, with
// redsync and with Quorumlock. The package has no code outside its tests.
package migrating
