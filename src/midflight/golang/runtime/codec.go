//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
)

// A codec writes and reads the values of one type.
type codec struct {
	write func(w *writer, v reflect.Value)
	read  func(r *reader, v reflect.Value) // into a settable value
}

var codecs sync.Map // reflect.Type → *codec

// codecOf returns the codec of a type; that of a recursive type refers to itself.
func codecOf(t reflect.Type) *codec {
	if found, ok := codecs.Load(t); ok {
		return found.(*codec)
	}
	made := &codec{}
	// Until it is complete, others that need this very type look it up again when they first use it.
	made.write = func(w *writer, v reflect.Value) { complete(t, made).write(w, v) }
	made.read = func(r *reader, v reflect.Value) { complete(t, made).read(r, v) }
	found, loaded := codecs.LoadOrStore(t, made)
	if loaded {
		return found.(*codec)
	}
	full := newCodec(t)
	codecs.Store(t, full)
	return full
}

func complete(t reflect.Type, made *codec) *codec {
	if found, ok := codecs.Load(t); ok && found.(*codec) != made {
		return found.(*codec)
	}
	return newCodec(t)
}

func newCodec(t reflect.Type) *codec {
	if t == errorType {
		return &codec{writeError, readError}
	}
	if isHandle(t) {
		return &codec{writeHandle, readHandle}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &codec{
			func(w *writer, v reflect.Value) { w.bool(v.Bool()) },
			func(r *reader, v reflect.Value) { v.SetBool(r.bool()) },
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &codec{func(w *writer, v reflect.Value) { w.int(v.Int()) }, readInt}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return &codec{func(w *writer, v reflect.Value) { w.uint(v.Uint()) }, readUint}
	case reflect.Float32, reflect.Float64:
		return &codec{func(w *writer, v reflect.Value) { w.float(v.Float()) }, readFloat}
	case reflect.Complex64, reflect.Complex128:
		return &codec{writeComplex, readComplex}
	case reflect.String:
		return &codec{
			func(w *writer, v reflect.Value) { w.text(v.String()) },
			func(r *reader, v reflect.Value) { v.SetString(r.text()) },
		}
	case reflect.Slice:
		return sliceCodec(t)
	case reflect.Array:
		return arrayCodec(t)
	case reflect.Map:
		return mapCodec(t)
	case reflect.Struct:
		return structCodec(t)
	case reflect.Pointer:
		return pointerCodec(t)
	case reflect.Func:
		return &codec{writeHandle, readFunc}
	case reflect.Interface:
		return &codec{writeAny, readAny}
	}
	return &codec{
		func(*writer, reflect.Value) { refuse("a %s can't leave Go", t) },
		func(*reader, reflect.Value) { refuse("a %s can't come from Python", t) },
	}
}

func readInt(r *reader, v reflect.Value) {
	bits, negative := r.integer()
	value := int64(bits)
	if negative != (value < 0) || v.OverflowInt(value) {
		refuse("%s doesn't fit %s", spell(bits, negative), v.Type())
	}
	v.SetInt(value)
}

func readUint(r *reader, v reflect.Value) {
	bits, negative := r.integer()
	if negative || v.OverflowUint(bits) {
		refuse("%s doesn't fit %s", spell(bits, negative), v.Type())
	}
	v.SetUint(bits)
}

func spell(bits uint64, negative bool) string {
	if negative {
		return fmt.Sprint(int64(bits))
	}
	return fmt.Sprint(bits)
}

func readFloat(r *reader, v reflect.Value) {
	value := r.float()
	if v.OverflowFloat(value) {
		refuse("%g doesn't fit %s", value, v.Type())
	}
	v.SetFloat(value)
}

func writeComplex(w *writer, v reflect.Value) {
	w.array(2)
	w.float(real(v.Complex()))
	w.float(imag(v.Complex()))
}

func readComplex(r *reader, v reflect.Value) {
	if r.array() != 2 {
		refuse("a complex number has two parts")
	}
	value := complex(r.float(), r.float())
	if v.OverflowComplex(value) {
		refuse("%v doesn't fit %s", value, v.Type())
	}
	v.SetComplex(value)
}

// ---- containers

func sliceCodec(t reflect.Type) *codec {
	if t.Elem().Kind() == reflect.Uint8 {
		return &codec{
			func(w *writer, v reflect.Value) { w.bytes(v.Bytes()) },
			func(r *reader, v reflect.Value) {
				if r.null() {
					v.SetZero()
				} else {
					v.SetBytes(r.bytes())
				}
			},
		}
	}
	element := codecOf(t.Elem())
	return &codec{
		func(w *writer, v reflect.Value) { writeItems(w, v, element) },
		func(r *reader, v reflect.Value) {
			if r.null() {
				v.SetZero()
				return
			}
			size := r.array()
			// Grown as it is read: a size that is claimed costs nothing before its elements are there.
			made := reflect.MakeSlice(t, 0, min(size, 4096))
			zero := reflect.Zero(t.Elem())
			r.enter()
			for i := 0; i < size; i++ {
				made = reflect.Append(made, zero)
				element.read(r, made.Index(i))
			}
			r.leave()
			v.Set(made)
		},
	}
}

func arrayCodec(t reflect.Type) *codec {
	element := codecOf(t.Elem())
	if t.Elem().Kind() == reflect.Uint8 {
		return &codec{
			func(w *writer, v reflect.Value) {
				copied := make([]byte, t.Len())
				reflect.Copy(reflect.ValueOf(copied), v)
				w.bytes(copied)
			},
			func(r *reader, v reflect.Value) {
				data := r.bytes()
				if len(data) != t.Len() {
					refuse("%s takes %d bytes, not %d", t, t.Len(), len(data))
				}
				for i, one := range data {
					v.Index(i).SetUint(uint64(one))
				}
			},
		}
	}
	return &codec{
		func(w *writer, v reflect.Value) { writeItems(w, v, element) },
		func(r *reader, v reflect.Value) {
			if size := r.array(); size != t.Len() {
				refuse("%s takes %d elements, not %d", t, t.Len(), size)
			}
			r.enter()
			for i := 0; i < t.Len(); i++ {
				element.read(r, v.Index(i))
			}
			r.leave()
		},
	}
}

func writeItems(w *writer, v reflect.Value, element *codec) {
	size := v.Len()
	w.array(size)
	w.enter()
	for i := 0; i < size; i++ {
		element.write(w, v.Index(i))
	}
	w.leave()
}

// mapCodec: maps whose keys Python's msgpack has no keys for travel as arrays of pairs.
func mapCodec(t reflect.Type) *codec {
	key, element := codecOf(t.Key()), codecOf(t.Elem())
	paired := !isPlainKey(t.Key())
	write := func(w *writer, v reflect.Value) {
		if paired {
			w.array(v.Len())
		} else {
			w.mapping(v.Len())
		}
		w.enter()
		for entries := v.MapRange(); entries.Next(); {
			if paired {
				w.array(2)
			}
			key.write(w, entries.Key())
			element.write(w, entries.Value())
		}
		w.leave()
	}
	read := func(r *reader, v reflect.Value) {
		if r.null() {
			v.SetZero()
			return
		}
		var size int
		if paired {
			size = r.array()
		} else {
			size = r.mapping()
		}
		made := reflect.MakeMapWithSize(t, min(size, 4096))
		oneKey, oneValue := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		r.enter()
		for i := 0; i < size; i++ {
			if paired && r.array() != 2 {
				refuse("an entry of a map is a pair")
			}
			oneKey.SetZero()
			oneValue.SetZero()
			key.read(r, oneKey)
			if !oneKey.Comparable() {
				refuse("a %s can't be the key of a map", oneKey.Elem().Type())
			}
			element.read(r, oneValue)
			made.SetMapIndex(oneKey, oneValue)
		}
		r.leave()
		v.Set(made)
	}
	return &codec{write, read}
}

func isPlainKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array, reflect.Struct, reflect.Pointer, reflect.Interface, reflect.Complex64, reflect.Complex128:
		return false
	}
	return true
}

func structCodec(t reflect.Type) *codec {
	fields := make([]*codec, t.NumField())
	for i := range fields {
		fields[i] = codecOf(t.Field(i).Type)
	}
	return &codec{
		func(w *writer, v reflect.Value) {
			w.array(len(fields))
			w.enter()
			for i, field := range fields {
				field.write(w, v.Field(i))
			}
			w.leave()
		},
		func(r *reader, v reflect.Value) {
			if size := r.array(); size != len(fields) {
				refuse("%s has %d fields, not %d", t, len(fields), size)
			}
			r.enter()
			for i, field := range fields {
				field.read(r, v.Field(i))
			}
			r.leave()
		},
	}
}

func pointerCodec(t reflect.Type) *codec {
	element := codecOf(t.Elem())
	return &codec{
		func(w *writer, v reflect.Value) {
			if v.IsNil() {
				w.null()
				return
			}
			w.enter()
			element.write(w, v.Elem())
			w.leave()
		},
		func(r *reader, v reflect.Value) {
			if r.null() {
				v.SetZero()
				return
			}
			made := reflect.New(t.Elem())
			r.enter()
			element.read(r, made.Elem())
			r.leave()
			v.Set(made.Convert(t))
		},
	}
}

// ---- errors, and values of any type

func writeError(w *writer, v reflect.Value) {
	if v.IsNil() {
		w.null()
		return
	}
	err := v.Interface().(error)
	w.nested(extError, func() { w.failure(err) })
}

// failure writes what Python is told of an error.
func (w *writer) failure(err error) {
	w.array(3)
	w.text(err.Error())
	w.text(typeName(reflect.TypeOf(err)))
	var chain []string
	for next := errors.Unwrap(err); next != nil && len(chain) < maxDepth; next = errors.Unwrap(next) {
		chain = append(chain, next.Error())
	}
	w.array(len(chain))
	for _, text := range chain {
		w.text(text)
	}
}

// A remoteError is an error that Python made.
type remoteError struct{ text string }

func (e *remoteError) Error() string { return e.text }

func readError(r *reader, v reflect.Value) {
	if r.null() {
		v.SetZero()
		return
	}
	code := r.peek()
	kind, data, ok := r.extension()
	if !ok || kind != extError {
		refuse("an error was expected, not %s", nameOf(code))
	}
	inner := &reader{data: data}
	if inner.array() < 1 {
		refuse("the message is cut off")
	}
	v.Set(reflect.ValueOf(&remoteError{inner.text()}))
}

func writeAny(w *writer, v reflect.Value) {
	if v.IsNil() {
		w.null()
		return
	}
	inner := v.Elem()
	t := inner.Type()
	switch {
	case t.Implements(errorType) && t.Kind() != reflect.Struct:
		err := inner.Interface().(error)
		w.nested(extError, func() { w.failure(err) })
	case isHandle(t) || !isSupported(t):
		writeHandle(w, inner)
	case t.Name() != "" && (t.Kind() == reflect.Struct || t.NumMethod() > 0):
		number, ok := registered.numbers[t]
		if !ok {
			writeHandle(w, inner)
			return
		}
		w.nested(extTyped, func() {
			w.array(2)
			w.uint(uint64(number))
			codecOf(t).write(w, inner)
		})
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		writeHandle(w, inner)
	case t.Kind() == reflect.Func:
		writeHandle(w, inner)
	case t.Kind() == reflect.Complex64 || t.Kind() == reflect.Complex128:
		writeHandle(w, inner)
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && t.Elem().Kind() != reflect.Uint8:
		w.array(inner.Len())
		w.enter()
		for i := 0; i < inner.Len(); i++ {
			writeAny(w, boxed(inner.Index(i)))
		}
		w.leave()
	case t.Kind() == reflect.Map && (isPlainKey(t.Key()) || t.Key() == anyType && hasPlainKeys(inner)):
		w.mapping(inner.Len())
		w.enter()
		for entries := inner.MapRange(); entries.Next(); {
			writeAny(w, boxed(entries.Key()))
			writeAny(w, boxed(entries.Value()))
		}
		w.leave()
	case t.Kind() == reflect.Map:
		writeHandle(w, inner)
	default:
		codecOf(t).write(w, inner)
	}
}

func hasPlainKeys(v reflect.Value) bool {
	for entries := v.MapRange(); entries.Next(); {
		if key := entries.Key(); key.IsNil() || !isPlainKey(key.Elem().Type()) {
			return false
		}
	}
	return true
}

var anyType = reflect.TypeOf((*any)(nil)).Elem()

func boxed(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Interface && v.NumMethod() == 0 {
		return v
	}
	box := reflect.New(anyType).Elem()
	if v.Kind() == reflect.Interface && v.IsNil() {
		return box
	}
	box.Set(v)
	return box
}

func readAny(r *reader, v reflect.Value) {
	if value := r.any(); value != nil {
		v.Set(reflect.ValueOf(value))
	} else {
		v.SetZero()
	}
}

// any reads a value whose type the message itself must tell.
func (r *reader) any() any {
	code := r.peek()
	switch {
	case code == 0xc0:
		r.at++
		return nil
	case code == 0xc2 || code == 0xc3:
		return r.bool()
	case code == 0xca || code == 0xcb:
		return r.float()
	case code >= 0xc4 && code <= 0xc6:
		return r.bytes()
	case code&0xf0 == 0x90 || code == 0xdc || code == 0xdd:
		return r.anyArray()
	case code&0xf0 == 0x80 || code == 0xde || code == 0xdf:
		return r.anyMap()
	case code&0xe0 == 0xa0 || code >= 0xd9 && code <= 0xdb:
		return r.text()
	case code >= 0xc7 && code <= 0xc9 || code >= 0xd4 && code <= 0xd8:
		return r.anyExtension()
	}
	bits, negative := r.integer()
	if !negative && bits > math.MaxInt64 {
		return bits
	}
	return int(int64(bits))
}

func (r *reader) anyArray() any {
	size := r.array()
	made := make([]any, 0, min(size, 4096))
	r.enter()
	for i := 0; i < size; i++ {
		made = append(made, r.any())
	}
	r.leave()
	return made
}

func (r *reader) anyMap() any {
	size := r.mapping()
	texts := make(map[string]any, min(size, 4096))
	others := map[any]any{}
	r.enter()
	for i := 0; i < size; i++ {
		key := r.any()
		if key != nil && !reflect.TypeOf(key).Comparable() {
			refuse("a %T can't be the key of a map", key)
		}
		value := r.any()
		if text, ok := key.(string); ok {
			texts[text] = value
		} else {
			others[key] = value
		}
	}
	r.leave()
	if len(others) == 0 {
		return texts
	}
	for key, value := range texts {
		others[key] = value
	}
	return others
}

func (r *reader) anyExtension() any {
	start := r.at
	kind, data, _ := r.extension()
	switch kind {
	case extText:
		return string(data)
	case extHandle:
		return handleNumbered(data).Interface()
	case extTyped:
		return r.typed(data).Elem().Interface()
	case extError:
		r.at = start
		var err error
		readError(r, reflect.ValueOf(&err).Elem())
		return err
	}
	refuse("extension %d isn't known", kind)
	return nil
}

// typed reads data of a registered type and returns a pointer to the value.
func (r *reader) typed(data []byte) reflect.Value {
	inner := &reader{data: data, depth: r.depth, call: r.call}
	if inner.array() != 2 {
		refuse("a typed value has two parts")
	}
	number, negative := inner.integer()
	if negative || number >= uint64(len(registered.types)) {
		refuse("there is no type number %d", number)
	}
	made := reflect.New(registered.types[number])
	inner.enter()
	codecOf(made.Type().Elem()).read(inner, made.Elem())
	return made
}

func numberIn(data []byte) uint64 {
	if len(data) < 8 {
		refuse("the message is cut off")
	}
	return binary.BigEndian.Uint64(data)
}
