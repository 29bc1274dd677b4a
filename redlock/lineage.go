package redlock

import (
	"context"
	"reflect"
)

// endsWith reports whether ctx certainly ends when ancestor does, from which its values
// come. A ctx that [context.WithoutCancel] made does not, nor do those that derive from it:
// what has one may well wait for the end of ancestor.
//
// A context does not tell its parent, and its type may be anybody's. Of the types of package
// context the parent is an exported field. If these ever change, or ctx has another type on
// the way that ends by itself, the answer is false.
func endsWith(ctx context.Context, ancestor *lockContext) bool {
	for {
		if ctx == context.Context(ancestor) || ctx.Done() == ancestor.Done() {
			return true
		}
		if lock, ok := ctx.(*lockContext); ok { // of another lock
			ctx = lock.Context
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
