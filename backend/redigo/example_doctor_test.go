package redigo_test

import (
	"context"
	"log"

	"github.com/gomodule/redigo/redis"

	redigonode "github.com/quorumlock/quorumlock/backend/redigo"
	"github.com/quorumlock/quorumlock/doctor"
)

// A program that checks its servers when it starts.
func Example_doctor() {
	pool, err := redigonode.NewPool("redis://localhost:6379/0")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	report, err := doctor.Check(context.Background(), []doctor.Server{{
		Name: "localhost:6379",
		Node: redigonode.New(pool),
		Do: func(ctx context.Context, args ...any) (any, error) {
			conn, err := pool.GetContext(ctx)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			return redis.DoContext(conn, ctx, args[0].(string), args[1:]...)
		},
	}}, doctor.Settings{})
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.At(doctor.Warning) {
		log.Print(finding)
	}
}
