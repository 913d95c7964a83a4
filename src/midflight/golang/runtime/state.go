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

// The data of a package that go from one version to the next: values by the names of variables and fields, unexported
// ones included.  Pointers and maps keep their identity: what two pointers shared before, they share afterwards.

// What is never carried: a lock belongs to those who wait for it, and a pool can be filled again.
var leftOut = map[string]bool{
	"sync.Mutex": true, "sync.RWMutex": true, "sync.WaitGroup": true, "sync.Cond": true, "sync.Pool": true,
}

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

// ---- writing

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

// ---- reading

type stateReader struct {
	reader
	path    []string
	known   map[uint64]reflect.Value
	dropped []string
}

func (r *stateReader) refuse(format string, arguments ...any) {
	refuse("%s %s", strings.Join(r.path, ""), fmt.Sprintf(format, arguments...))
}

func (r *stateReader) in(part string, read func()) {
	r.depth++
	if r.depth > deepestState {
		r.refuse("is nested too deep")
	}
	r.path = append(r.path, part)
	read()
	r.path = r.path[:len(r.path)-1]
	r.depth--
}

// value reads into a settable value.  What was written under another type is taken if nothing of it gets lost.
func (r *stateReader) value(v reflect.Value) {
	switch t := v.Type(); t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer, reflect.Struct, reflect.Interface:
		r.composite(v)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		if !r.null() {
			r.refuse("is a %s now", t)
		}
	default:
		r.basic(v)
	}
}

func (r *stateReader) basic(v reflect.Value) {
	defer func() {
		if reason := recover(); reason != nil {
			found, ok := reason.(misfit)
			if !ok {
				panic(reason)
			}
			r.refuse("is a %s now: %s", typeName(v.Type()), found.text)
		}
	}()
	codecOf(v.Type()).read(&r.reader, v)
}

func (r *stateReader) composite(v reflect.Value) {
	t := v.Type()
	if t.Kind() == reflect.Array {
		r.elements(v)
		return
	}
	if t.Kind() == reflect.Struct {
		r.fields(v)
		return
	}
	if r.null() {
		v.SetZero()
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		r.slice(v)
	case reflect.Map:
		r.shared(v, func(number uint64) {
			made := reflect.MakeMap(t)
			r.known[number] = made
			r.entries(made)
		})
	case reflect.Pointer:
		r.shared(v, func(number uint64) {
			made := reflect.New(t.Elem())
			r.known[number] = made
			r.in("", func() { r.value(made.Elem()) })
		})
	case reflect.Interface:
		r.dynamic(v)
	}
}

// expect reads the head of an array, and says in the words of the state if there is none.
func (r *stateReader) expect(t reflect.Type) int {
	if code := r.peek(); code&0xf0 != 0x90 && code != 0xdc && code != 0xdd {
		r.refuse("is a %s now, but was %s", typeName(t), nameOf(code))
	}
	return r.array()
}

func (r *stateReader) slice(v reflect.Value) {
	t := v.Type()
	if t.Elem().Kind() == reflect.Uint8 {
		if code := r.peek(); code < 0xc4 || code > 0xc6 {
			r.refuse("is a %s now, but was %s", typeName(t), nameOf(code))
		}
		v.SetBytes(r.bytes())
		return
	}
	size := r.expect(t)
	made := reflect.MakeSlice(t, size, size)
	for i := 0; i < size; i++ {
		r.in(fmt.Sprintf("[%d]", i), func() { r.value(made.Index(i)) })
	}
	v.Set(made)
}

func (r *stateReader) elements(v reflect.Value) {
	size := r.expect(v.Type())
	if size > v.Len() {
		r.refuse("has room for %d elements now, but had %d", v.Len(), size)
	}
	for i := 0; i < size; i++ {
		r.in(fmt.Sprintf("[%d]", i), func() { r.value(open(v.Index(i))) })
	}
}

func (r *stateReader) shared(v reflect.Value, read func(number uint64)) {
	t := v.Type()
	size := r.expect(t)
	number, _ := r.integer()
	if size == 2 {
		read(number)
	}
	found, ok := r.known[number]
	if !ok {
		r.refuse("refers to something that wasn't saved")
	}
	if !found.Type().AssignableTo(t) {
		if !found.Type().ConvertibleTo(t) {
			r.refuse("is a %s now, but shares its value with a %s", typeName(t), typeName(found.Type()))
		}
		found = found.Convert(t)
	}
	v.Set(found)
}

func (r *stateReader) entries(made reflect.Value) {
	t := made.Type()
	size := r.expect(t)
	for i := 0; i < size; i++ {
		if r.expect(t) != 2 {
			r.refuse("is damaged")
		}
		key, element := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		r.in("[key]", func() { r.value(key) })
		r.in("[…]", func() { r.value(element) })
		made.SetMapIndex(key, element)
	}
}

func (r *stateReader) fields(v reflect.Value) {
	t := v.Type()
	code := r.peek()
	if isMarshaled(t) {
		if code < 0xc4 || code > 0xc6 {
			r.refuse("is a %s now, but was %s", typeName(t), nameOf(code))
		}
		data := r.bytes()
		if err := open(v).Addr().Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(data); err != nil {
			r.refuse("can't be read: %s", err)
		}
		return
	}
	if code&0xf0 != 0x80 && code != 0xde && code != 0xdf {
		r.refuse("is a %s now, but was %s", typeName(t), nameOf(code))
	}
	size := r.mapping()
	for i := 0; i < size; i++ {
		name := r.text()
		if found, ok := t.FieldByName(name); ok && len(found.Index) == 1 && !leftOut[found.Type.String()] {
			r.in("."+name, func() { r.value(open(v.Field(found.Index[0]))) })
			continue
		}
		r.dropped = append(r.dropped, strings.Join(r.path, "")+"."+name)
		r.skip()
	}
}

func (r *stateReader) dynamic(v reflect.Value) {
	if r.expect(v.Type()) != 2 {
		r.refuse("is damaged")
	}
	name := r.text()
	t := stateType(name)
	if t == nil {
		r.refuse("held a %s, which this version hasn't got", strings.TrimPrefix(name, "="))
	}
	made := reflect.New(t).Elem()
	r.in("", func() { r.value(made) })
	if !t.AssignableTo(v.Type()) {
		r.refuse("held a %s, which isn't a %s any more", typeName(t), typeName(v.Type()))
	}
	v.Set(made)
}

// skip passes over a value.  A shared one in it is lost to those who refer to it later; they say so.
func (r *stateReader) skip() {
	code := r.peek()
	switch {
	case code == 0xc0:
		r.at++
	case code&0xf0 == 0x90 || code == 0xdc || code == 0xdd:
		for size := r.array(); size > 0; size-- {
			r.skip()
		}
	case code&0xf0 == 0x80 || code == 0xde || code == 0xdf:
		for size := r.mapping(); size > 0; size-- {
			r.skip()
			r.skip()
		}
	case code == 0xc2 || code == 0xc3:
		r.bool()
	case code == 0xca || code == 0xcb:
		r.float()
	case code >= 0xc4 && code <= 0xc6:
		r.bytes()
	case code&0xe0 == 0xa0 || code >= 0xd9 && code <= 0xdb:
		r.text()
	case code >= 0xc7 && code <= 0xc9 || code >= 0xd4 && code <= 0xd8:
		r.extension()
	default:
		r.integer()
	}
}
