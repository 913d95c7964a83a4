//go:build go1.22

package midflightruntime

import (
	"encoding"
	"reflect"
	"unsafe"
)

// The data of a package that go from one version to the next: values by the names of variables and fields, unexported
// ones included.  Pointers and maps keep their identity: what two pointers shared before, they share afterwards.

// What is never carried: a lock belongs to those who wait for it, and a pool can be filled again.
var leftOut = map[string]bool{
	"sync.Mutex": true, "sync.RWMutex": true, "sync.WaitGroup": true, "sync.Cond": true, "sync.Pool": true,
}

// IsLeftOut tells whether fields of a type are never carried.
func IsLeftOut(spelled string) bool { return leftOut[spelled] }

const deepestState = 1_000_000

var (
	marshalerType   = reflect.TypeOf((*encoding.BinaryMarshaler)(nil)).Elem()
	unmarshalerType = reflect.TypeOf((*encoding.BinaryUnmarshaler)(nil)).Elem()
)

// isMarshaled tells whether a struct's type knows itself how to be written: time.Time, big.Int.
func isMarshaled(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || isData(t) {
		return false
	}
	pointer := reflect.PointerTo(t)
	return pointer.Implements(marshalerType) && pointer.Implements(unmarshalerType)
}

// open makes an unexported field as accessible as an exported one.
func open(v reflect.Value) reflect.Value {
	if v.CanInterface() && v.CanSet() || !v.CanAddr() {
		return v
	}
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}
