// Package doctor tests package doctor of the root module on real servers: it plants one
// fault at a time, and exactly this fault must be found.
//
//	go test -v ./doctor
package doctor
