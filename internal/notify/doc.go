// Package notify is how nodes notify this process of free locks: a subscription on each
// node, proof that messages arrive, and doubts about false ones. It knows no locks and no
// queues.
//
//	inbox.go   the channel on which this process is notified
//	echo.go    makes sure that the inbox hears each node
//	rumour.go  false notifications
package notify
