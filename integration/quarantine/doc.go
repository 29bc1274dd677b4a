// Package quarantine shows on real servers, with every adapter, that one which may have
// lost its locks does not grant them again before they have ended, however it lost
// them, and that without a quarantine it does.
package quarantine
