package sender

import "hash/maphash"

// deletions keeps the acquires and deletions of a key in order. Calls of one sender can
// overtake each other, but an acquire must not overtake a deletion of its key that was
// submitted earlier. It would meet this process's own older token, or be undone.
//
// So an acquire takes waiting deletions of its key along in its own call, in front of it.
// While a deletion is under way, the acquire is parked: it waits until the deletion has
// come back.
//
// A hash table links the deletions themselves, so it allocates nothing for each of them.
// Nearly all are answered before anybody asks for their key, and while a node does not
// answer, very many wait.
type deletions struct {
	buckets  []*Item // linked by Item.sibling; the length is 0 or a power of 2
	n        int     // deletions in the buckets
	taken    int     // those of them that have been taken
	parkings map[string]*parking
	parks    int // acquires that are parked
}

// A parking is where acquires of a key wait until no deletion of it is under way. Most keys
// have none.
type parking struct {
	key     string
	flying  int // deletions that are under way
	settles int // deletions that have failed, and whose owners may first have them sent again
	parked  []*Item
}

// A stage is how far a deletion has come.
type stage uint8

const (
	outside stage = iota // the sender does not have it, or keeps it as a doubt
	waiting              // in a queue
	taken                // about to be sent or dropped
	flying               // under way
)

const (
	// fewBuckets is how many buckets there are at first.
	fewBuckets = 64

	// spareBuckets is how many buckets may be kept without a deletion.
	spareBuckets = 4096
)

var seed = maphash.MakeSeed()

// bucket returns the bucket of a key.
func (d *deletions) bucket(key string) **Item {
	return &d.buckets[maphash.String(seed, key)&uint64(len(d.buckets)-1)]
}

// enter adds a deletion.
func (d *deletions) enter(it *Item) {
	if d.n == len(d.buckets) {
		d.grow()
	}
	it.link(d.bucket(it.Key))
	d.n++
}

// grow doubles the number of buckets.
func (d *deletions) grow() {
	old := d.buckets
	d.buckets = make([]*Item, max(2*len(old), fewBuckets))
	for _, it := range old {
		for it != nil {
			next := it.sibling
			it.link(d.bucket(it.Key))
			it = next
		}
	}
}

// leave removes a deletion, unless it is outside.
func (d *deletions) leave(it *Item) {
	if it.stage == outside {
		return
	}
	it.unlink()
	d.move(it, outside)
	if d.n--; d.n == 0 && len(d.buckets) > spareBuckets {
		d.buckets = nil
	}
}

// move notes that a deletion has come to the stage st.
func (d *deletions) move(it *Item, st stage) {
	if it.stage == taken {
		d.taken--
	}
	if it.stage = st; st == taken {
		d.taken++
	}
}

// find returns a deletion of key that waits or is under way, as st says, or nil.
func (d *deletions) find(key string, st stage) *Item {
	if d.n == d.taken { // the usual case: one call at a time, and all that waits goes with it
		return nil
	}
	return (*d.bucket(key)).find(key, st)
}

// find returns the first one of it and its siblings that is of key and has come to the
// stage st, or nil.
func (it *Item) find(key string, st stage) *Item {
	for it != nil && (it.stage != st || it.Key != key) {
		it = it.sibling
	}
	return it
}

// link puts it into a bucket.
func (it *Item) link(bucket **Item) {
	it.sibling, it.at = *bucket, bucket
	if it.sibling != nil {
		it.sibling.at = &it.sibling
	}
	*bucket = it
}

// unlink takes it out of its bucket.
func (it *Item) unlink() {
	*it.at = it.sibling
	if it.sibling != nil {
		it.sibling.at = it.at
	}
	it.sibling, it.at = nil, nil
}

// wait notes that a deletion waits in a queue.
func (d *deletions) wait(it *Item) {
	d.enter(it)
	d.move(it, waiting)
}

// take notes that a deletion no longer waits. It will be sent or dropped.
func (d *deletions) take(it *Item) { d.move(it, taken) }

// fly notes that a deletion is about to be sent.
func (d *deletions) fly(it *Item) {
	if it.stage == outside { // it has not waited, or is a doubt
		d.enter(it)
	}
	d.move(it, flying)
	if p := d.parkings[it.Key]; p != nil {
		p.flying++
	}
}

// land notes that a deletion has come back, and moves the acquires that waited for it to the
// queue.
func (d *deletions) land(it *Item, acquires *list) {
	d.leave(it)
	if p := d.parkings[it.Key]; p != nil {
		p.flying--
		d.end(p, acquires)
	}
}

// fail notes that a deletion has come back and has failed. The acquires that wait for it
// continue to wait until [deletions.settle], because its owner may first have it sent again.
func (d *deletions) fail(it *Item) *parking {
	p := d.parking(it.Key)
	d.leave(it)
	p.flying--
	p.settles++
	return p
}

// settle ends the wait for a failed deletion.
func (d *deletions) settle(p *parking, acquires *list) {
	p.settles--
	d.end(p, acquires)
}

// end moves the acquires of p to the queue if they have nothing to wait for any more.
func (d *deletions) end(p *parking, acquires *list) {
	if p.flying+p.settles > 0 {
		return
	}
	d.unpark(p, acquires)
	delete(d.parkings, p.key)
}

// blocks reports whether acquires of key have to be parked.
func (d *deletions) blocks(key string) bool {
	return d.parkings[key] != nil || d.find(key, flying) != nil
}

// park makes an acquire wait.
func (d *deletions) park(it *Item) {
	p := d.parking(it.Key)
	p.parked = append(p.parked, it)
	d.parks++
}

// parking returns the parking of a key, making it if necessary.
func (d *deletions) parking(key string) *parking {
	p := d.parkings[key]
	if p == nil {
		if d.parkings == nil {
			d.parkings = make(map[string]*parking)
		}
		p = &parking{key: key}
		for it := d.find(key, flying); it != nil; it = it.sibling.find(key, flying) {
			p.flying++
		}
		d.parkings[key] = p
	}
	return p
}

func (d *deletions) unpark(p *parking, to *list) {
	for _, it := range p.parked {
		to.push(it)
	}
	d.parks -= len(p.parked)
	p.parked = nil
}

// unparkAll moves all parked acquires to a list.
func (d *deletions) unparkAll(to *list) {
	if d.parks == 0 {
		return
	}
	for _, p := range d.parkings {
		d.unpark(p, to)
	}
}
