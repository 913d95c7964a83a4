//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"reflect"
	"strings"
	"sync"
	"time"
)

// The values that Python holds by number.  A pointer has one number however often it is handed out; what counts the
// holders is how often it was handed out and not yet given back.
var handles = struct {
	sync.Mutex
	values map[uint64]*handle
	known  map[any]uint64 // pointers only
	next   uint64
}{
	values: map[uint64]*handle{}, known: map[any]uint64{},
	// Another start for each process: a number from a process that has crashed means nothing in the next one.
	next: uint64(time.Now().UnixNano()),
}

type handle struct {
	value reflect.Value
	count uint64
}

// writeHandle hands a live value out.  A struct is handed out as a pointer to a copy of it.
func writeHandle(w *writer, v reflect.Value) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
		w.null()
		return
	}
	if v.Kind() == reflect.Struct {
		copied := reflect.New(v.Type())
		copied.Elem().Set(v)
		v = copied
	}
	var data [12]byte
	binary.BigEndian.PutUint64(data[:], handOut(v))
	binary.BigEndian.PutUint32(data[8:], dynamicNumber(v.Type()))
	w.extension(extHandle, data[:])
}

func handOut(v reflect.Value) uint64 {
	handles.Lock()
	defer handles.Unlock()
	var identity any
	if v.Kind() == reflect.Pointer {
		identity = v.Interface()
		if number, ok := handles.known[identity]; ok {
			handles.values[number].count++
			return number
		}
	}
	handles.next++
	handles.values[handles.next] = &handle{v, 1}
	if identity != nil {
		handles.known[identity] = handles.next
	}
	return handles.next
}

// release takes back one handing out.
func release(number uint64) {
	handles.Lock()
	defer handles.Unlock()
	found, ok := handles.values[number]
	if !ok {
		return
	}
	found.count--
	if found.count > 0 {
		return
	}
	delete(handles.values, number)
	if found.value.Kind() == reflect.Pointer {
		delete(handles.known, found.value.Interface())
	}
}

func handleNumbered(data []byte) reflect.Value {
	number := numberIn(data)
	handles.Lock()
	defer handles.Unlock()
	found, ok := handles.values[number]
	if !ok {
		refuse("there is no object number %d (any more)", number)
	}
	return found.value
}

// readHandle reads a live value, or data of a type from which one can be made.
func readHandle(r *reader, v reflect.Value) {
	if r.null() {
		if v.Kind() == reflect.Struct {
			refuse("a %s was expected, not nil", typeName(v.Type()))
		}
		v.SetZero()
		return
	}
	code := r.peek()
	kind, data, ok := r.extension()
	var found reflect.Value
	switch {
	case ok && kind == extHandle:
		found = handleNumbered(data)
	case ok && kind == extTyped:
		found = r.typed(data)
	default:
		refuse("a %s was expected, not %s", typeName(v.Type()), nameOf(code))
	}
	switch target := v.Type(); {
	case kind == extTyped && found.Type().Elem().AssignableTo(target):
		v.Set(found.Elem())
	case found.Type().AssignableTo(target):
		v.Set(found)
	case found.Kind() == reflect.Pointer && found.Type().Elem().AssignableTo(target):
		v.Set(found.Elem())
	default:
		refuse("a %s was expected, not a %s", typeName(target), typeName(found.Type()))
	}
}

// ---- dynamic types

var dynamic = struct {
	sync.Mutex
	numbers map[reflect.Type]uint32
	types   []reflect.Type
}{numbers: map[reflect.Type]uint32{}}

func dynamicNumber(t reflect.Type) uint32 {
	dynamic.Lock()
	defer dynamic.Unlock()
	number, ok := dynamic.numbers[t]
	if !ok {
		number = uint32(len(dynamic.types))
		dynamic.numbers[t] = number
		dynamic.types = append(dynamic.types, t)
	}
	return number
}

func dynamicType(number uint64) reflect.Type {
	dynamic.Lock()
	defer dynamic.Unlock()
	if number >= uint64(len(dynamic.types)) {
		refuse("there is no type number %d", number)
	}
	return dynamic.types[number]
}

// typeName spells a type as the package's own source does: its own types without the name of the package.
func typeName(t reflect.Type) string {
	own := registered.packageName
	if own == "" {
		return t.String()
	}
	text := t.String()
	var out strings.Builder
	for at := 0; at < len(text); {
		if strings.HasPrefix(text[at:], own+".") && (at == 0 || !isWord(text[at-1])) {
			at += len(own) + 1
			continue
		}
		out.WriteByte(text[at])
		at++
	}
	return strings.ReplaceAll(out.String(), registered.packagePath+".", "")
}

func isWord(c byte) bool {
	return c == '_' || c == '/' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}
