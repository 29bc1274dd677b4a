package rueidis_test

import (
	"context"
	"log"

	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	"github.com/quorumlock/quorumlock/doctor"
)

// A program that checks its servers when it starts.
func Example_doctor() {
	client, err := rueidisnode.NewClient("redis://localhost:6379/0")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	report, err := doctor.Check(context.Background(), []doctor.Server{{
		Name: "localhost:6379",
		Node: rueidisnode.New(client),
		Do: func(ctx context.Context, args ...any) (any, error) {
			command := client.B().Arbitrary()
			for _, a := range args {
				command = command.Args(a.(string))
			}
			return client.Do(ctx, command.Build()).ToAny()
		},
	}}, doctor.Settings{})
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.At(doctor.Warning) {
		log.Print(finding)
	}
}
