// Package reach tests every way to reach servers that a URL can describe, with the URL
// helper of each adapter and with the tool: TLS with a private authority and client
// certificates, Sentinel sets, Clusters, and passwords in files. It has no code of its own.
//
// It is for developers who change how servers are reached. See package servers for the
// servers on which the tests run.
package reach
