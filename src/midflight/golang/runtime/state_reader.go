//go:build go1.22

package midflightruntime

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

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
