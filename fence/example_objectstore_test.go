package fence_test

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/fence"
)

// An object keeps the highest token in its content, because an ETag may depend on the content
// alone.
type object struct {
	Fence uint64
	Text  string
}

// A bucket has one object, and supports the condition that object stores have: replace the object
// if it still has this ETag.
type bucket struct{ content object }

var errPrecondition = errors.New("412 Precondition Failed")

func (b *bucket) get() (o object, etag string) { return b.content, etagOf(b.content) }

func (b *bucket) putIfMatch(o object, etag string) (newETag string, err error) {
	if etag != etagOf(b.content) {
		return "", errPrecondition
	}
	b.content = o
	return etagOf(o), nil
}

func etagOf(o object) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, o)))[:8] }

// announce writes the token into the object before its content is used. It returns the object
// with the ETag of that write.
func announce(b *bucket, token uint64) (object, string, error) {
	for {
		o, etag := b.get()
		if o.Fence > token {
			return object{}, "", &fence.StaleError{Resource: "plan", Token: token, Highest: o.Fence}
		}
		o.Fence = token
		etag, err := b.putIfMatch(o, etag)
		if err == nil {
			return o, etag, nil
		}
		if !errors.Is(err, errPrecondition) {
			return object{}, "", err
		}
		// Another holder was faster, so check its token.
	}
}

// The conditional writes of an object store reject late writes. The token also decides which of
// two holders has to give way: always the older one.
func Example_objectStorage() {
	var b bucket
	first, etag1, err := announce(&b, 33)
	fmt.Println("33 announced:", err)
	second, etag2, err := announce(&b, 34) // the lock with token 33 has expired
	fmt.Println("34 announced:", err)

	first.Text += "by 33"
	_, err = b.putIfMatch(first, etag1)
	fmt.Println("33 writes:", err)
	second.Text += "by 34"
	_, err = b.putIfMatch(second, etag2)
	fmt.Println("34 writes:", err)
	_, _, err = announce(&b, 33)
	fmt.Println("33 tries again:", err)
	// Output:
	// 33 announced: <nil>
	// 34 announced: <nil>
	// 33 writes: 412 Precondition Failed
	// 34 writes: <nil>
	// 33 tries again: fence: "plan": stale token 33: 34 was seen
}
