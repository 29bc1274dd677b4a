package peer

import "github.com/redis/rueidis"

// rueidisOption returns the driver's defaults for one server. All libraries with this driver get
// the same client.
func rueidisOption(addr string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true}
}

// eachRueidis returns a client for each server, and a function that closes them.
func eachRueidis(addrs []string) (clients []rueidis.Client, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range clients {
			c.Close()
		}
	}
	for _, addr := range addrs {
		c, err := rueidis.NewClient(rueidisOption(addr))
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return clients, closeAll, nil
}
