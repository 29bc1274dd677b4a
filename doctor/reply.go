package doctor

import (
	"errors"
	"io"
	"regexp"
	"strconv"
)

// Drivers decode replies differently: text as string or []byte, and, with RESP3, pairs as
// a map.

// textOf returns a reply that is a text or a number.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// listOf returns a reply that is a list of texts and numbers.
func listOf(v any) ([]string, bool) {
	if list, ok := v.([]string); ok {
		return list, true
	}
	list, ok := v.([]any)
	texts := make([]string, len(list))
	for i := range list {
		one, is := textOf(list[i])
		texts[i], ok = one, ok && is
	}
	return texts, ok
}

// pairsOf returns a reply that is a map, or a list of names and values.
func pairsOf(v any) (map[string]string, bool) {
	pairs, complete := map[string]string{}, true
	add := func(name, value any) {
		n, ok1 := textOf(name)
		t, ok2 := textOf(value)
		pairs[n], complete = t, complete && ok1 && ok2
	}
	switch v := v.(type) {
	case map[any]any:
		for name, value := range v {
			add(name, value)
		}
	case map[string]any:
		for name, value := range v {
			add(name, value)
		}
	case map[string]string:
		return v, true
	default:
		list, ok := listOf(v)
		if !ok || len(list)%2 != 0 {
			return nil, false
		}
		for i := 0; i < len(list); i += 2 {
			pairs[list[i]] = list[i+1]
		}
	}
	return pairs, complete
}

// replyCode finds the first word of an error reply. Redis before 7 puts the place in the
// script before it.
var replyCode = regexp.MustCompile(`^(?:@user_script: ?\d+: )?-?([A-Z]+)(?: |$)`)

// code returns the first word of an error reply, such as NOPERM, or "" for any other
// error.
func code(err error) string {
	if err == nil || err.Error() == io.EOF.Error() {
		return ""
	}
	if m := replyCode.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

var errReply = errors.New("the reply has an unknown form")
