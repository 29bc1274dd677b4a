// Package quarantine shows, on real servers and with every adapter, that a server which may have
// lost its locks does not grant them again before they have ended, whatever caused the loss. It
// also shows that without a quarantine the server does.
package quarantine
