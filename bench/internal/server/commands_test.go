package server

import "testing"

func TestCommandsOfInfo(t *testing.T) {
	before, after := Commands{}, Commands{}
	if err := before.parse("# Commandstats\r\ncmdstat_set:calls=3,usec=9,usec_per_call=3.00\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := after.parse("# Commandstats\r\n" +
		"cmdstat_set:calls=10,usec=9,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_evalsha:calls=5,usec=9,usec_per_call=3.00\r\n" +
		"cmdstat_client|setinfo:calls=40,usec=9,usec_per_call=3.00\r\n" +
		"cmdstat_hello:calls=20,usec=9,usec_per_call=3.00\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := after.Since(before), int64(7+5); got != want {
		t.Errorf("Since = %d, want %d: 7 SET and 5 EVALSHA, without commands that set up a connection", got, want)
	}
	if got := after.Since(before, "evalsha", "eval"); got != 5 {
		t.Errorf("Since of scripts = %d, want 5", got)
	}
	if err := after.parse("cmdstat_get:usec=3\r\n"); err == nil {
		t.Error("no error for a line without the number of calls")
	}
}
