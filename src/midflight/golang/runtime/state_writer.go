//go:build go1.22

package midflightruntime

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"unsafe"
)

type stateWriter struct {
	writer
	path  []string
	known map[identity]uint64
}

type identity struct {
	t       reflect.Type
	address unsafe.Pointer
}

func newStateWriter(name string) *stateWriter {
	return &stateWriter{path: []string{name}, known: map[identity]uint64{}}
}

func (w *stateWriter) refuse(format string, arguments ...any) {
	refuse("%s %s", strings.Join(w.path, ""), fmt.Sprintf(format, arguments...))
}

func (w *stateWriter) in(part string, write func()) {
	w.depth++
	if w.depth > deepestState {
		w.refuse("is nested too deep")
	}
	w.path = append(w.path, part)
	write()
	w.path = w.path[:len(w.path)-1]
	w.depth--
}

func (w *stateWriter) value(v reflect.Value) {
	switch t := v.Type(); t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32,
		reflect.Float64, reflect.Complex64, reflect.Complex128, reflect.String:
		codecOf(t).write(&w.writer, v)
	case reflect.Slice:
		if v.IsNil() {
			w.null()
		} else if t.Elem().Kind() == reflect.Uint8 {
			w.bytes(v.Bytes())
		} else {
			w.items(v)
		}
	case reflect.Array:
		w.items(v)
	case reflect.Map:
		w.shared(v, func() { w.entries(v) })
	case reflect.Pointer:
		w.shared(v, func() { w.in("", func() { w.value(open(v.Elem())) }) })
	case reflect.Struct:
		w.fields(v)
	case reflect.Interface:
		w.dynamic(v)
	default: // func, chan, unsafe.Pointer
		if !v.IsZero() {
			w.refuse("is a %s, which can't be carried to another version", t)
		}
		w.null()
	}
}

func (w *stateWriter) items(v reflect.Value) {
	w.array(v.Len())
	for i := 0; i < v.Len(); i++ {
		w.in(fmt.Sprintf("[%d]", i), func() { w.value(open(v.Index(i))) })
	}
}

// shared writes nil, [number, value] at the first visit, and [number] at later ones.
func (w *stateWriter) shared(v reflect.Value, write func()) {
	if v.IsNil() {
		w.null()
		return
	}
	key := identity{v.Type(), v.UnsafePointer()}
	if number, ok := w.known[key]; ok {
		w.array(1)
		w.uint(number)
		return
	}
	w.known[key] = uint64(len(w.known) + 1)
	w.array(2)
	w.uint(w.known[key])
	write()
}

// entries writes a map in the order of its keys as they are written, so that equal maps give equal bytes.
func (w *stateWriter) entries(v reflect.Value) {
	type entry struct {
		key     []byte
		element reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	outer := w.buffer
	for iterator := v.MapRange(); iterator.Next(); {
		w.buffer = nil
		key := reflect.New(v.Type().Key()).Elem()
		key.Set(iterator.Key())
		w.in("[key]", func() { w.value(key) })
		element := reflect.New(v.Type().Elem()).Elem()
		element.Set(iterator.Value())
		entries = append(entries, entry{w.buffer, element})
	}
	w.buffer = outer
	sort.Slice(entries, func(i, j int) bool { return bytes.Compare(entries[i].key, entries[j].key) < 0 })
	w.array(len(entries))
	for _, one := range entries {
		w.array(2)
		w.buffer = append(w.buffer, one.key...)
		w.in("[…]", func() { w.value(one.element) })
	}
}

func (w *stateWriter) fields(v reflect.Value) {
	t := v.Type()
	if isMarshaled(t) {
		data, err := open(v).Addr().Interface().(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			w.refuse("can't be written: %s", err)
		}
		w.bytes(data)
		return
	}
	var names []int
	for i := 0; i < t.NumField(); i++ {
		if !leftOut[t.Field(i).Type.String()] && t.Field(i).Name != "_" {
			names = append(names, i)
		}
	}
	w.mapping(len(names))
	for _, i := range names {
		w.text(t.Field(i).Name)
		w.in("."+t.Field(i).Name, func() { w.value(open(v.Field(i))) })
	}
}

// dynamic writes what an interface holds, with the name of its type.
func (w *stateWriter) dynamic(v reflect.Value) {
	if v.IsNil() {
		w.null()
		return
	}
	inner := reflect.New(v.Elem().Type()).Elem()
	inner.Set(v.Elem())
	name := stateName(inner.Type())
	if name == "" {
		w.refuse("holds a %s, whose type the next version can't be asked for", typeName(inner.Type()))
	}
	w.array(2)
	w.text(name)
	w.in("", func() { w.value(inner) })
}

var basics = func() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	for _, value := range []any{
		false, 0, int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0), uint32(0), uint64(0),
		float32(0), float64(0), "", []byte{}, []any{}, []string{}, []int{}, map[string]any{}, map[any]any{},
		map[string]string{}, map[string]int{}, []float64{},
	} {
		found[reflect.TypeOf(value).String()] = reflect.TypeOf(value)
	}
	return found
}()

// stateName names a dynamic type so that stateType finds the next version's type of that name.
func stateName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		if inner := stateName(t.Elem()); inner != "" {
			return "*" + inner
		}
		return ""
	}
	if number, ok := registered.numbers[t]; ok {
		for name, one := range registered.byName {
			if one == registered.types[number] {
				return name
			}
		}
	}
	if basics[t.String()] == t {
		return "=" + t.String()
	}
	return ""
}

func stateType(name string) reflect.Type {
	if strings.HasPrefix(name, "*") {
		if inner := stateType(name[1:]); inner != nil {
			return reflect.PointerTo(inner)
		}
		return nil
	}
	if strings.HasPrefix(name, "=") {
		return basics[name[1:]]
	}
	return registered.byName[name]
}
