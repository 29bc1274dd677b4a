// Package joint acquires the locks on several keys together, all or none. It decides what a
// call does next: which keys it asks for, which ones it keeps, for which one it waits, and what
// it gives back. How a key is asked for, extended and given back is behind two interfaces:
// [Key] is what the call knows of a key that is missing, and [Lock] of one that it holds. The
// package knows no hook and no error text.
//
// A [Call] makes one attempt at all keys at once. If a key is refused, it keeps the keys before
// that one, gives back the others, and waits for the key. Then it tries all that are missing
// again.
//
// While it waits, it holds only keys that sort before the one for which it waits. All callers
// sort keys in the same way. So of any callers that wait, the one that waits for the last key
// waits for nobody who waits.
package joint
