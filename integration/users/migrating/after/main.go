// Settle books the open payments of accounts, with Quorumlock. It is the new half of an example
// for docs/migrating: package before does the same with redsync.
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

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/redlock"
)

// A settler books payments.
type settler struct {
	locker *redlock.Locker
	store  *redis.Client
	takes  time.Duration // to book one payment
}

func main() {
	servers := flag.String("servers", "localhost:6379", "addresses of the servers that keep the locks, separated by commas")
	store := flag.String("store", "localhost:6379", "address of the server that keeps the balances")
	payments := flag.Int("payments", 1, "how many payments to book on each account")
	takes := flag.Duration("takes", 10*time.Millisecond, "how long it takes to book a payment")
	beside := flag.Bool("beside-redsync", false, "poll for locks while processes with redsync still run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var nodes []backend.Node
	for _, addr := range strings.Split(*servers, ",") {
		nodes = append(nodes, goredis.New(redis.NewClient(&redis.Options{Addr: addr})))
	}
	opts := []redlock.Option{redlock.WithTTL(8 * time.Second), redlock.WithWait(5 * time.Second), redlock.WithLogger(slog.Default())}
	if *beside {
		opts = append(opts, redlock.WithRetry(redlock.Fixed(300*time.Millisecond).Jitter().ThenQueue(2*time.Second)))
	}
	locker, err := redlock.New(nodes, opts...)
	if err != nil {
		slog.Error("not started", "error", err)
		stop()
		os.Exit(1)
	}
	s := settler{locker: locker, store: redis.NewClient(&redis.Options{Addr: *store}), takes: *takes}
	for _, account := range flag.Args() {
		if err := s.settleAll(ctx, account, *payments); err != nil {
			slog.Error("not settled", "account", account, "error", err)
			stop()
			os.Exit(1)
		}
	}
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := locker.Shutdown(end); err != nil { // so that nobody waits for a lock of this process
		slog.Warn("shutdown", "error", err)
	}
}

// settleAll books that many payments. It waits for as long as other processes settle the account.
func (s *settler) settleAll(ctx context.Context, account string, payments int) error {
	for booked := 0; booked < payments; {
		switch err := s.settle(ctx, account); {
		case err == nil:
			booked++
		case errors.Is(err, redlock.ErrTaken) && ctx.Err() == nil:
			slog.Info("still busy", "account", account)
		default:
			return err
		}
	}
	return nil
}

// settle books one payment under the lock of the account.
func (s *settler) settle(ctx context.Context, account string) error {
	return s.locker.Do(ctx, "settle/"+account, func(ctx context.Context) error {
		return s.book(ctx, account)
	})
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
