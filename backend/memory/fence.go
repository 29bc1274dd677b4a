package memory

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// Where counters end, and by how much a hint and a counter may part from the
// node's clock, in microseconds.
const (
	mostCount = 1<<53 - 1
	hintSlack = int64(250 * time.Millisecond / time.Microsecond)
	maxAhead  = int64(24 * time.Hour / time.Microsecond)
)

// clock returns the node's time in microseconds since 1970.
func (db *db) clock() int64 { return db.now.UnixMicro() }

// count returns what a counter stands at, 0 if it is missing.
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

// beyond returns an error if a counter is not to stand at c now.
func (db *db) beyond(counter string, c int64) error {
	if c <= mostCount && c <= db.clock()+maxAhead {
		return nil
	}
	return fmt.Errorf("FENCE the counter %s would be %d, more than a day ahead of this server: "+
		"set its clock right, or delete the counter while nobody holds the lock", quoted(counter), c)
}

// move has a counter stand at c, for so many milliseconds, or for ever if that is 0.
func (db *db) move(counter string, c, keep int64) {
	db.keep(counter, strconv.FormatInt(c, 10), keep)
}

// quoted returns text as a script shows it in an error.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\ `, "\r", `\r`, "\x00", `\000`).Replace(text) + `"`
}
