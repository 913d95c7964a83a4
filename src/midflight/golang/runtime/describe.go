//go:build go1.22

package midflightruntime

import (
	"reflect"
	"strings"
)

// A describer tells of types by reflection.
type describer struct {
	types     []Type
	numbers   map[reflect.Type]int
	registers bool // named types are registered when they are first met
}

func newDescriber() *describer {
	return &describer{types: []Type{}, numbers: map[reflect.Type]int{}}
}

// Description is what Python is told of a dynamic type: the last of the types, and what that refers to.
type Description struct {
	Types []Type `json:"types"`
	Root  int    `json:"root"`
}

func describe(w *writer, t reflect.Type) {
	d := newDescriber()
	root := d.add(t)
	writeNamed(w, reflect.ValueOf(Description{d.types, root}))
}

// writeNamed writes our own structs with the names that they have in JSON.
func writeNamed(w *writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		w.mapping(v.NumField())
		for i := 0; i < v.NumField(); i++ {
			w.text(v.Type().Field(i).Tag.Get("json"))
			writeNamed(w, v.Field(i))
		}
	case reflect.Slice:
		w.array(v.Len())
		for i := 0; i < v.Len(); i++ {
			writeNamed(w, v.Index(i))
		}
	default:
		codecOf(v.Type()).write(w, v)
	}
}

func (d *describer) add(t reflect.Type) int {
	if number, ok := d.numbers[t]; ok {
		return number
	}
	number := len(d.types)
	d.numbers[t] = number
	d.types = append(d.types, Type{})
	made := d.describe(t)
	d.types[number] = made
	return number
}

func (d *describer) describe(t reflect.Type) Type {
	made := NewType(typeName(t))
	if t.Name() != "" && t.PkgPath() != "" {
		made.Name = typeName(t)
	}
	if d.registers && made.Name != "" && t.Kind() != reflect.Interface {
		if _, known := registered.numbers[t]; !known {
			AddType(made.Name, reflect.Zero(reflect.PointerTo(t)).Interface())
		}
	}
	if number, ok := registered.numbers[t]; ok {
		made.Number = number
	}
	switch {
	case t == errorType:
		made.Kind = "error"
		return made
	case t == contextType:
		made.Kind = "context"
		return made
	case isHandle(t):
		d.object(t, &made)
		return made
	case !isSupported(t):
		made.Kind, made.Why = "unsupported", "a "+t.String()+" can't leave Go"
		return made
	}
	d.data(t, &made)
	if made.Name != "" {
		made.Methods = d.methods(reflect.PointerTo(t))
	}
	return made
}

// object describes a type whose values stay here: its methods, and the fields of the struct that it points to.
func (d *describer) object(t reflect.Type, made *Type) {
	made.Kind = "object"
	made.Methods = d.methods(t)
	element := t
	if t.Kind() == reflect.Pointer {
		element = t.Elem()
	} else if t.Kind() == reflect.Struct {
		made.Methods = d.methods(reflect.PointerTo(t)) // it is handed out as a pointer to a copy
	}
	if element.Name() != "" {
		made.Name = typeName(element)
	}
	if element.Kind() == reflect.Struct {
		made.Fields = d.fields(element)
		if isData(element) {
			made.Elem = d.add(element)
		}
	}
	if t.Kind() == reflect.Func {
		made.Signature = []Func{d.signature("", t, 0)}
	}
}

func (d *describer) data(t reflect.Type, made *Type) {
	switch kind := t.Kind(); kind {
	case reflect.Bool:
		made.Kind = "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		made.Kind, made.Bits = "int", t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		made.Kind, made.Bits = "uint", t.Bits()
	case reflect.Float32, reflect.Float64:
		made.Kind, made.Bits = "float", t.Bits()
	case reflect.Complex64, reflect.Complex128:
		made.Kind, made.Bits = "complex", t.Bits()
	case reflect.String:
		made.Kind = "string"
	case reflect.Slice, reflect.Array:
		made.Kind, made.Elem = kind.String(), d.add(t.Elem())
		if kind == reflect.Array {
			made.Length = t.Len()
		}
		if t.Elem().Kind() == reflect.Uint8 {
			made.Kind = "bytes"
		}
	case reflect.Map:
		made.Kind, made.Key, made.Elem = "map", d.add(t.Key()), d.add(t.Elem())
	case reflect.Struct:
		made.Kind, made.Fields = "struct", d.fields(t)
	case reflect.Pointer:
		made.Kind, made.Elem = "pointer", d.add(t.Elem())
	case reflect.Func:
		made.Kind, made.Signature = "func", []Func{d.signature("", t, 0)}
	case reflect.Interface:
		made.Kind = "any"
	}
}

func (d *describer) fields(t reflect.Type) []Field {
	made := []Field{}
	for i := 0; i < t.NumField(); i++ {
		if field := t.Field(i); field.IsExported() {
			made = append(made, Field{field.Name, d.add(field.Type), ""})
		}
	}
	return made
}

func (d *describer) methods(t reflect.Type) []Func {
	made := []Func{}
	for i := 0; i < t.NumMethod(); i++ {
		method, skip := t.Method(i), 1
		if t.Kind() == reflect.Interface {
			skip = 0
		}
		if !strings.HasPrefix(method.Name, "Midflight") {
			made = append(made, d.signature(method.Name, method.Type, skip))
		}
	}
	return made
}

func (d *describer) signature(name string, t reflect.Type, skip int) Func {
	made := NewFunc(name, t.IsVariadic())
	for i := skip; i < t.NumIn(); i++ {
		if i == skip && t.In(i) == contextType {
			made.Context = true
			continue
		}
		made.Params = append(made.Params, Param{"", d.add(t.In(i))})
		made.refuse(t.In(i))
	}
	for i := 0; i < t.NumOut(); i++ {
		if i == t.NumOut()-1 && t.Out(i) == errorType {
			made.Error = true
			break
		}
		made.Results = append(made.Results, Param{"", d.add(t.Out(i))})
		made.refuse(t.Out(i))
	}
	return made
}

func (f *Func) refuse(t reflect.Type) {
	if !isSupported(t) {
		f.Why = "a " + t.String() + " can't cross the border between Go and Python"
	}
}
