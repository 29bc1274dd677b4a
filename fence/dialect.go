package fence

import (
	"errors"
	"fmt"
)

// A Dialect is the SQL of one family of databases, as far as package fence needs it.
type Dialect int

const (
	// PostgreSQL is version 9.5 or later, with placeholders $1, $2, …
	PostgreSQL Dialect = iota + 1

	// SQLite is version 3.24 or later, with placeholders ?.
	SQLite

	// MySQL is MySQL and MariaDB, with InnoDB tables and placeholders ?.
	MySQL
)

func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	case MySQL:
		return "MySQL"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

var errDialect = errors.New("fence: the Dialect is none of PostgreSQL, SQLite and MySQL")

func (d Dialect) check() error {
	if d < PostgreSQL || d > MySQL {
		return errDialect
	}
	return nil
}

// placeholder returns the placeholder of argument i, counted from 1.
func (d Dialect) placeholder(i int) string {
	if d == PostgreSQL {
		return fmt.Sprintf("$%d", i)
	}
	return "?"
}

// current returns a suffix that makes a SELECT return what is in the database now. In
// MySQL's default isolation it would return what was there at the transaction's first
// SELECT.
func (d Dialect) current() string {
	if d == MySQL {
		return " FOR UPDATE"
	}
	return ""
}
