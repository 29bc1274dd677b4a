package goredis_test

import (
	"context"
	"log"

	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/doctor"
)

// A program that checks its servers when it starts.
func Example_doctor() {
	client, err := goredis.NewClient("redis://localhost:6379/0")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	report, err := doctor.Check(context.Background(), []doctor.Server{{
		Name: "localhost:6379",
		Node: goredis.New(client),
		Do:   func(ctx context.Context, args ...any) (any, error) { return client.Do(ctx, args...).Result() },
	}}, doctor.Settings{})
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.At(doctor.Warning) {
		log.Print(finding)
	}
}
