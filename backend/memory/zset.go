package memory

import (
	"cmp"
	"errors"
	"slices"
)

// A zset is a sorted set: members in the order of their scores, and in the order of their
// bytes if scores are equal. A zset in a db is never empty.
type zset struct{ members []scored }

type scored struct {
	score float64
	text  string
}

func (a scored) compare(b scored) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.text, b.text))
}

// errWrongType is the answer to a command on a key of another type.
var errWrongType = errors.New("WRONGTYPE Operation against a key holding the wrong kind of value")

// zset returns the sorted set at key, or nil if key is missing.
func (db *db) zset(key string) (*zset, error) {
	e := db.find(key)
	if e == nil {
		return nil, nil
	}
	if e.zset == nil {
		return nil, errWrongType
	}
	return e.zset, nil
}

// zadd adds text to the sorted set at key, and makes the set if there is none. A text
// that is already in it keeps its score.
func (db *db) zadd(key, text string, score float64) error {
	z, err := db.zset(key)
	if err != nil {
		return err
	}
	if z == nil {
		z = &zset{}
		db.put(key, &entry{zset: z})
	}
	if z.rank(text) < 0 {
		m := scored{score, text}
		i, _ := slices.BinarySearchFunc(z.members, m, scored.compare)
		z.members = slices.Insert(z.members, i, m)
	}
	return nil
}

// zrem removes text from the sorted set at key, if there is such a set and it has text.
func (db *db) zrem(key, text string) {
	z, err := db.zset(key)
	if z == nil || err != nil {
		return
	}
	if i := z.rank(text); i >= 0 {
		db.zremAt(key, z, i)
	}
}

// zpop removes and returns the first member of the sorted set at key. There is none if
// key is missing or has another type.
func (db *db) zpop(key string) (text string, ok bool) {
	z, err := db.zset(key)
	if z == nil || err != nil {
		return "", false
	}
	text = z.members[0].text
	db.zremAt(key, z, 0)
	return text, true
}

func (db *db) zremAt(key string, z *zset, i int) {
	z.members = slices.Delete(z.members, i, i+1)
	if len(z.members) == 0 {
		delete(db.entries, key)
	}
}

// rank returns how many members are before text, or -1 if text is not a member.
func (z *zset) rank(text string) int {
	return slices.IndexFunc(z.members, func(m scored) bool { return m.text == text })
}

// first returns the first n members, or fewer if there are not as many.
func (z *zset) first(n int) []string {
	var texts []string
	for _, m := range z.members[:min(n, len(z.members))] {
		texts = append(texts, m.text)
	}
	return texts
}
