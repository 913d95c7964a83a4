//go:build go1.22

package midflightruntime

import (
	"fmt"
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
