package adapterkit

import "strings"

const (
	clusterSlots = 16384

	// clusterParts is the number of parts of a Cluster. A client need not know which server
	// has a slot, because a server has long ranges of slots.
	clusterParts = 64
)

// ClusterPartition is the Partition method of a Redis or Valkey Cluster. A part is a
// range of slots.
func ClusterPartition(key string) (part, parts int) {
	return ClusterSlot(key) * clusterParts / clusterSlots, clusterParts
}

// ClusterSlot returns the hash slot of key (Redis Cluster specification, "Key
// distribution model"): the CRC-16 (XMODEM) modulo 16384. It is that of the text in the
// key's first braces, or of the whole key if there is no such text.
func ClusterSlot(key string) int {
	if _, tail, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(tail, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc % clusterSlots)
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
