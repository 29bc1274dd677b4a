package fence_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/fence"
)

// A service keeps documents. Its clients use a lock for each document, so that only one of them
// works on it. Every request carries the lock's token, including reads, because a read is the
// announcement.
type service struct {
	guards    fence.Guards
	documents map[string]*document // a fixed set, so that clients cannot invent names
}

type document struct{ text string } // protected by the guard of its path

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	doc := s.documents[r.URL.Path]
	if doc == nil {
		http.NotFound(w, r)
		return
	}
	token, err := strconv.ParseUint(r.Header.Get("Fencing-Token"), 10, 64)
	if err != nil || token == 0 {
		http.Error(w, "no Fencing-Token", http.StatusPreconditionRequired)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)) // reads everything before it takes the guard
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var text string
	err = s.guards.Do(r.URL.Path, token, func() error {
		if r.Method == http.MethodPut {
			doc.text = string(body)
		}
		text = doc.text
		return nil
	})
	switch {
	case errors.Is(err, fence.ErrStale):
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		io.WriteString(w, text)
	}
}

// A service rejects the requests of clients that have lost their lock.
func ExampleGuards_http() {
	server := httptest.NewServer(&service{documents: map[string]*document{"/plan": {text: "old"}}})
	defer server.Close()

	request := func(method string, token uint64, body string) {
		r, err := http.NewRequest(method, server.URL+"/plan", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		if token > 0 {
			r.Header.Set("Fencing-Token", strconv.FormatUint(token, 10))
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		fmt.Println(method, token, answer.StatusCode, strings.TrimSpace(string(text)))
	}
	request("GET", 33, "")         // the first holder reads, and is paused
	request("GET", 34, "")         // its lock has expired, and the second holder reads
	request("PUT", 33, "by first") // the first holder wakes up
	request("PUT", 34, "by second")
	request("PUT", 0, "by anybody")
	// Output:
	// GET 33 200 old
	// GET 34 200 old
	// PUT 33 412 fence: "/plan": stale token 33: 34 was seen
	// PUT 34 200 by second
	// PUT 0 428 no Fencing-Token
}
