//go:build go1.22

package midflightruntime

import (
	"context"
	"reflect"
	"sync"
)

var (
	errorType   = reflect.TypeOf((*error)(nil)).Elem()
	contextType = reflect.TypeOf((*context.Context)(nil)).Elem()
)

// isHandle tells whether values of a type stay here and are spoken of by number.
//
// The analyzer has the same rules, on go/types (analyzer/types.go): what one of them says, the other must say too.
func isHandle(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface:
		return t != errorType && t.NumMethod() > 0
	case reflect.Pointer:
		element := t.Elem()
		if element.Kind() == reflect.Interface || element.Name() != "" && t.NumMethod() > 0 {
			return true
		}
		return element.Kind() == reflect.Struct && !isData(element) || !isSupported(element)
	case reflect.Struct:
		return !isData(t)
	case reflect.Func:
		return t.Name() != "" && t.NumMethod() > 0
	}
	return false
}

// isSupported tells whether values of a type can be part of a message.
func isSupported(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.UnsafePointer:
		return false
	case reflect.Slice, reflect.Array:
		return isSupported(t.Elem())
	case reflect.Map:
		return isSupported(t.Key()) && isSupported(t.Elem())
	}
	return true
}

var dataTypes struct {
	sync.Mutex
	known map[reflect.Type]bool
}

// isData tells whether a struct is copied: all its fields are exported and can be part of a message.
func isData(t reflect.Type) bool {
	dataTypes.Lock()
	defer dataTypes.Unlock()
	if dataTypes.known == nil {
		dataTypes.known = map[reflect.Type]bool{}
	}
	if known, ok := dataTypes.known[t]; ok {
		return known
	}
	known := true
	for i := 0; i < t.NumField() && known; i++ {
		field := t.Field(i)
		known = field.IsExported() && isSupported(field.Type)
	}
	dataTypes.known[t] = known
	return known
}
