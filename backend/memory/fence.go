package memory

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// The highest counter, and how far a hint and a counter may be from the node's clock, in
// microseconds.
const (
	mostCount = 1<<53 - 1
	hintSlack = int64(250 * time.Millisecond / time.Microsecond)
	maxAhead  = int64(24 * time.Hour / time.Microsecond)
)

// clock returns the node's time in microseconds since 1970.
func (db *db) clock() int64 { return db.now.UnixMicro() }

// count returns the value of a counter, or 0 if it is missing.
func (db *db) count(counter string) (int64, error) {
	e := db.find(counter)
	if e == nil {
		return 0, nil
	}
	if c, ok := proto.ParseNumber(e.text); ok { // of another type, the text is empty
		return c, nil
	}
	return 0, fmt.Errorf("FENCE the counter %s holds no number of at most 16 digits: "+
		"delete it while nobody holds the lock", quoted(counter))
}

// beyond returns an error if a counter must not have the value c now.
func (db *db) beyond(counter string, c int64) error {
	if c <= mostCount && c <= db.clock()+maxAhead {
		return nil
	}
	return fmt.Errorf("FENCE the counter %s would be %d, more than a day ahead of this server: "+
		"set its clock right, or delete the counter while nobody holds the lock", quoted(counter), c)
}

// move sets a counter to c, for keep milliseconds, or for ever if that is 0.
func (db *db) move(counter string, c, keep int64) {
	db.keep(counter, strconv.FormatInt(c, 10), keep)
}

// quoted returns text as it appears in an error of a script.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\ `, "\r", `\r`, "\x00", `\000`).Replace(text) + `"`
}
