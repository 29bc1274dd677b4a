package sender

// deletions keeps the acquires and the deletions of a key in order. Calls of one sender
// overtake each other, and an acquire must not overtake the deletions of its key that
// were submitted before it: it would meet this process's own older token, or be undone.
//
// So an acquire takes the deletions that wait along in its own call, before it, and waits
// itself while one is under way.
type deletions struct {
	byKey map[string]*keyDeletions
	spare []*keyDeletions
	parks int // acquires that wait
}

// keyDeletions is the deletions of one key.
type keyDeletions struct {
	key     string
	uses    int   // deletions that wait, are about to be sent, or are under way
	waiting *Item // linked by sibling
	flying  int
	parked  []*Item // acquires that wait until none is flying
}

// add notes a deletion that waits in a queue.
func (d *deletions) add(it *Item) {
	k := d.of(it)
	it.sibling, k.waiting = k.waiting, it
}

// of returns the record that a deletion is on, which it makes if there is none.
func (d *deletions) of(it *Item) *keyDeletions {
	if it.record != nil {
		return it.record
	}
	k := d.byKey[it.Key]
	if k == nil {
		if d.byKey == nil {
			d.byKey = make(map[string]*keyDeletions)
		}
		if n := len(d.spare); n > 0 {
			k, d.spare = d.spare[n-1], d.spare[:n-1]
		} else {
			k = new(keyDeletions)
		}
		k.key = it.Key
		d.byKey[it.Key] = k
	}
	it.record = k
	k.uses++
	return k
}

// take notes that a deletion does not wait any more. It is to fly or to be dropped.
func (d *deletions) take(it *Item) {
	for at := &it.record.waiting; *at != nil; at = &(*at).sibling {
		if *at == it {
			*at, it.sibling = it.sibling, nil
			return
		}
	}
}

// fly notes that a deletion is about to be sent.
func (d *deletions) fly(it *Item) { d.of(it).flying++ }

// park has an acquire wait.
func (d *deletions) park(k *keyDeletions, it *Item) {
	k.parked = append(k.parked, it)
	d.parks++
}

// lift takes a deletion that has come back off its record, which counts it as under way
// until [deletions.land]: its owner may have it sent again first.
func (d *deletions) lift(it *Item) *keyDeletions {
	k := it.record
	it.record = nil
	return k
}

// land notes that a deletion is not under way any more, and moves the acquires that
// waited for that to the queue.
func (d *deletions) land(k *keyDeletions, acquires *list) {
	if k.flying--; k.flying == 0 {
		d.unpark(k, acquires)
	}
	d.leave(k)
}

// drop takes a deletion that is not to be sent off its record.
func (d *deletions) drop(it *Item) {
	if k := d.lift(it); k != nil {
		d.leave(k)
	}
}

// leave counts a deletion off a record, and drops the record of a key that has none.
func (d *deletions) leave(k *keyDeletions) {
	if k.uses--; k.uses > 0 {
		return
	}
	delete(d.byKey, k.key)
	k.key = ""
	if len(d.spare) < maxSpare {
		d.spare = append(d.spare, k)
	}
}

func (d *deletions) unpark(k *keyDeletions, to *list) {
	for i, it := range k.parked {
		to.push(it)
		k.parked[i] = nil
	}
	d.parks -= len(k.parked)
	k.parked = k.parked[:0]
}

// unparkAll moves all acquires that wait to a list.
func (d *deletions) unparkAll(to *list) {
	if d.parks == 0 {
		return
	}
	for _, k := range d.byKey {
		d.unpark(k, to)
	}
}

// maxSpare is how many spare records are kept.
const maxSpare = 1024
