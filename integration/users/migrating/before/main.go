// Settle books the open payments of accounts, with redsync. It is the old half of an example for
// docs/migrating: package after does the same with Quorumlock.
//
// Any number of processes may settle the same account. The balance is read, changed and written,
// so payments would be lost if two processes did that at the same time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// expiry is how long a lock outlives its process.
const expiry = 8 * time.Second

// errBusy means that another process settles the account.
var errBusy = errors.New("another process settles the account")

// A settler books payments.
type settler struct {
	locks *redsync.Redsync
	store *redis.Client
	takes time.Duration // to book one payment
}

func main() {
	servers := flag.String("servers", "localhost:6379", "addresses of the servers that keep the locks, separated by commas")
	store := flag.String("store", "localhost:6379", "address of the server that keeps the balances")
	payments := flag.Int("payments", 1, "how many payments to book on each account")
	takes := flag.Duration("takes", 10*time.Millisecond, "how long it takes to book a payment")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var pools []redsyncredis.Pool
	for _, addr := range strings.Split(*servers, ",") {
		pools = append(pools, redsyncgoredis.NewPool(redis.NewClient(&redis.Options{Addr: addr})))
	}
	s := settler{
		locks: redsync.New(pools...),
		store: redis.NewClient(&redis.Options{Addr: *store}),
		takes: *takes,
	}
	for _, account := range flag.Args() {
		if err := s.settleAll(ctx, account, *payments); err != nil {
			slog.Error("not settled", "account", account, "error", err)
			stop()
			os.Exit(1)
		}
	}
}

// settleAll books that many payments. It waits for as long as other processes settle the account.
func (s *settler) settleAll(ctx context.Context, account string, payments int) error {
	for booked := 0; booked < payments; {
		switch err := s.settle(ctx, account); {
		case err == nil:
			booked++
		case errors.Is(err, errBusy):
			slog.Info("still busy", "account", account)
		default:
			return err
		}
	}
	return nil
}

// settle books one payment under the lock of the account.
func (s *settler) settle(ctx context.Context, account string) error {
	mutex := s.locks.NewMutex("settle/"+account, redsync.WithExpiry(expiry))
	if err := mutex.LockContext(ctx); err != nil { // 32 attempts, which take about 5 s
		var taken *redsync.ErrTaken
		switch {
		case ctx.Err() != nil: // redsync's error does not say so
			return context.Cause(ctx)
		case errors.As(err, &taken), errors.Is(err, redsync.ErrFailed):
			return errBusy
		}
		return fmt.Errorf("lock: %w", err)
	}

	work, cancel := context.WithCancelCause(ctx)
	extending := make(chan struct{})
	go func() {
		defer close(extending)
		if err := extend(work, mutex); err != nil {
			cancel(err)
		}
	}()
	err := s.book(work, account)
	cancel(nil)
	<-extending // because an extension writes what the unlock reads

	unlock, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if ok, unlockErr := mutex.UnlockContext(unlock); !ok {
		slog.Warn("unlock", "account", account, "error", unlockErr)
	}
	return err
}

// extend extends the lock until ctx ends. It returns why the lock was lost, if it was.
func extend(ctx context.Context, mutex *redsync.Mutex) error {
	ticker := time.NewTicker(expiry / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		ok, err := mutex.ExtendContext(ctx)
		switch {
		case ok:
		case ctx.Err() != nil:
			return nil
		case time.Now().After(mutex.Until()):
			return fmt.Errorf("the lock was lost: %w", err)
		}
	}
}

// book adds a payment to the balance of the account.
func (s *settler) book(ctx context.Context, account string) error {
	balance, err := s.store.Get(ctx, "balance/"+account).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read the balance: %w", err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(s.takes): // the work
	}
	if err := s.store.Set(ctx, "balance/"+account, balance+1, 0).Err(); err != nil {
		return fmt.Errorf("write the balance: %w", err)
	}
	return nil
}
