package main

import (
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// noSentinel is how the error of a Sentinel client begins that has got the address of the
// master from no sentinel. It wraps the errors of all sentinels.
const noSentinel = "redis: all sentinels specified in configuration are unreachable"

// complainOfSentinels is [complain] for that error. It returns false for any other.
func complainOfSentinels(err error, waited time.Duration) (complaint, bool) {
	found, each := sentinelErrors(err)
	switch {
	case !found:
		return complaint{}, false
	case len(each) == 0:
		return complaint{"none of its sentinels answers", "are the addresses in the URL right?"}, true
	}
	first := each[0]
	for _, one := range each {
		if errors.Is(one, redis.Nil) { // a sentinel that answers knows more than those that do not
			return complaint{"its sentinels do not know the master", `check master_name in the URL; "redis-cli -p 26379 SENTINEL MASTERS" lists the names`}, true
		}
	}
	c := complain(first, waited)
	code, _, _ := strings.Cut(first.Error(), " ")
	switch {
	case code == "NOAUTH":
		c.remedy = "give the password of the sentinels with --sentinel-password-file or REDLOCK_SENTINEL_PASSWORD, or with sentinel_password= in the URL; they do not use that of the master"
	case code == "WRONGPASS", strings.HasPrefix(first.Error(), "ERR AUTH"), strings.HasPrefix(first.Error(), "ERR Client sent AUTH"):
		c.remedy = "check --sentinel-password-file, REDLOCK_SENTINEL_PASSWORD, and sentinel_username and sentinel_password in the URL"
	case strings.HasPrefix(first.Error(), "ERR unknown command"):
		c.remedy = "is it a Redis server? write redis://, or name the sentinels, whose port is usually 26379"
	}
	c.what = "no sentinel tells the master: " + c.what
	return c, true
}

// sentinelErrors returns the errors of the sentinels that err wraps, and whether err is
// about sentinels at all.
func sentinelErrors(err error) (found bool, each []error) {
	var inner []error
	switch wraps := err.(type) {
	case interface{ Unwrap() error }:
		inner = []error{wraps.Unwrap()}
	case interface{ Unwrap() []error }:
		inner = wraps.Unwrap()
	}
	for _, one := range inner { // a mark has the text of the error that it marks
		if found, each = sentinelErrors(one); found {
			return found, each
		}
	}
	if err == nil || !strings.HasPrefix(err.Error(), noSentinel) {
		return false, nil
	}
	if len(inner) == 1 {
		if joined, ok := inner[0].(interface{ Unwrap() []error }); ok {
			each = joined.Unwrap()
		}
	}
	return true, each
}
