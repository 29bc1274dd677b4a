package sender

// deletions keeps the acquires and deletions of a key in order. Calls of one sender can
// overtake each other, but an acquire must not overtake a deletion of its key that was
// submitted earlier. It would meet this process's own older token, or be undone.
//
// So an acquire takes waiting deletions of its key along in its own call, in front of it.
// While a deletion is under way, the acquire is parked: it waits until the deletion has
// come back.
type deletions struct {
	byKey map[string]*keyDeletions
	spare []*keyDeletions
	parks int // acquires that are parked
}

// keyDeletions is the deletions of one key.
type keyDeletions struct {
	key     string
	uses    int   // deletions that wait, are about to be sent, or are under way
	waiting *Item // linked by Item.sibling
	flying  int
	parked  []*Item // acquires that wait until flying is 0
}

// add records a deletion that waits in a queue.
func (d *deletions) add(it *Item) {
	k := d.of(it)
	it.sibling, k.waiting = k.waiting, it
}

// of returns the record of a deletion, making it if necessary.
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

// take notes that a deletion no longer waits. It will be sent or dropped.
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

// park makes an acquire wait.
func (d *deletions) park(k *keyDeletions, it *Item) {
	k.parked = append(k.parked, it)
	d.parks++
}

// lift removes a deletion that has come back from its record. The record still counts it
// as under way until [deletions.land], because its owner may first have it sent again.
func (d *deletions) lift(it *Item) *keyDeletions {
	k := it.record
	it.record = nil
	return k
}

// land notes that a deletion is no longer under way, and moves the acquires that waited
// for it to the queue.
func (d *deletions) land(k *keyDeletions, acquires *list) {
	if k.flying--; k.flying == 0 {
		d.unpark(k, acquires)
	}
	d.leave(k)
}

// drop removes a deletion that will not be sent from its record.
func (d *deletions) drop(it *Item) {
	if k := d.lift(it); k != nil {
		d.leave(k)
	}
}

// leave subtracts a deletion from a record, and frees the record if it was the last one.
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

// unparkAll moves all parked acquires to a list.
func (d *deletions) unparkAll(to *list) {
	if d.parks == 0 {
		return
	}
	for _, k := range d.byKey {
		d.unpark(k, to)
	}
}

// maxSpare is the number of spare records to keep.
const maxSpare = 1024
