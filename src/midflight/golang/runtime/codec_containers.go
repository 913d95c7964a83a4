//go:build go1.22

package midflightruntime

import "reflect"

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
