//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
)

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
	w.errorParts(err)
}

// errorParts writes an error's text, its type, and the texts of the errors that it wraps.
func (w *writer) errorParts(err error) {
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
