package rueidis

import "strings"

// In a Cluster each of slotRanges ranges of slots has a gate of its own, as one
// master says nothing about another and the driver does not tell which has a
// key. Masters have long ranges of slots, as a rule, so that few gates have two
// behind them; where one has, the calls to both wait for each other's trials.
const (
	slots      = 16384
	slotRanges = 64
)

// slot returns the hash slot of key, as the cluster specification has it: the
// CRC-16 (XMODEM) of the key, or of what is in its first braces.
func slot(key string) int {
	if _, tail, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(tail, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc % slots)
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
