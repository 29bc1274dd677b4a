package redlock

import (
	"context"
	"reflect"
)

// endsWith reports whether ctx certainly ends when ancestor does. ctx has its values from
// ancestor. A ctx that [context.WithoutCancel] made, or that derives from such a one,
// does not end with ancestor: a caller with such a ctx may want to wait for the end of
// ancestor.
//
// A context does not reveal its parent, and anybody can define a type of context. In the
// types of package context the parent is an exported field. If that ever changes, or
// another type on the way ends by itself, the answer is false.
func endsWith(ctx context.Context, ancestor *lockContext) bool {
	for {
		if ctx == context.Context(ancestor) || ctx.Done() == ancestor.Done() {
			return true
		}
		switch own := ctx.(type) {
		case *lockContext: // of another lock
			ctx = own.inner()
			continue
		case *locksContext:
			ctx = own.Context.Context
			continue
		}
		v := reflect.Indirect(reflect.ValueOf(ctx))
		if v.Kind() != reflect.Struct || v.Type().PkgPath() != "context" {
			return false
		}
		parent := v.FieldByName("Context")
		if !parent.IsValid() || !parent.CanInterface() {
			return false
		}
		var ok bool
		if ctx, ok = parent.Interface().(context.Context); !ok {
			return false
		}
	}
}
