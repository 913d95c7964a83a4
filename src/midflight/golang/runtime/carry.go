//go:build go1.22

package midflightruntime

import (
	"bytes"
	"reflect"
	"strings"
)

// What each variable was like after the package's initialisation.  One that is still like that takes the initial value
// of the next version: an edited table of prices is to take effect.
var baseline = map[string]initial{}

type initial struct {
	data    []byte
	refused string        // why it can't be written
	shallow reflect.Value // a copy, to tell whether one that can't be written was assigned to
}

func takeBaseline() {
	if registered.save.IsValid() {
		return
	}
	for _, name := range registered.state {
		value := registered.variables[name].Elem()
		data, refused := written(name, value)
		one := initial{data: data, refused: refused}
		if refused != "" {
			one.shallow = reflect.New(value.Type()).Elem()
			one.shallow.Set(value)
		}
		baseline[name] = one
	}
}

// written returns a variable as bytes, or why that can't be.
func written(name string, value reflect.Value) (data []byte, refused string) {
	defer func() {
		if reason := recover(); reason != nil {
			found, ok := reason.(misfit)
			if !ok {
				panic(reason)
			}
			refused = found.text
		}
	}()
	w := newStateWriter(name)
	w.value(value)
	return w.buffer, ""
}

// isCode tells whether a variable holds nothing but functions: those are the next version's own.
func isCode(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Func:
		return true
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer:
		return isCode(t.Elem())
	}
	return false
}

// save writes [variables, what the hook gave, names of unchanged variables, names and reasons of those left behind].
func save(w *writer) {
	w.array(4)
	if registered.save.IsValid() {
		w.null()
		w.bytes(callSaveHook())
		w.array(0)
		w.array(0)
		return
	}
	var changed, same []string
	var left [][2]string
	for _, name := range registered.state {
		value := registered.variables[name].Elem()
		if isCode(value.Type()) {
			continue
		}
		data, refused := written(name, value)
		first := baseline[name]
		switch {
		case refused == "" && first.refused == "" && bytes.Equal(data, first.data):
			same = append(same, name)
		case refused == "":
			changed = append(changed, name)
		case first.refused != "" && sameWords(value, first.shallow):
			left = append(left, [2]string{name, refused})
		default:
			refuse("%s; make the variable unexported if it needn't be carried, or write MidflightSave and MidflightRestore", refused)
		}
	}
	// Together, so that what several variables share stays shared.
	all := newStateWriter("")
	all.mapping(len(changed))
	for _, name := range changed {
		all.text(name)
		all.in(name, func() { all.value(registered.variables[name].Elem()) })
	}
	w.bytes(all.buffer)
	w.null()
	codecOf(reflect.TypeOf(same)).write(w, reflect.ValueOf(same))
	codecOf(reflect.TypeOf(left)).write(w, reflect.ValueOf(left))
}

func sameWords(one, other reflect.Value) bool {
	switch one.Kind() {
	case reflect.Map, reflect.Func, reflect.Slice, reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return one.Pointer() == other.Pointer()
	case reflect.Interface:
		if one.IsNil() || other.IsNil() {
			return one.IsNil() == other.IsNil()
		}
		return one.Elem().Type() == other.Elem().Type() && sameWords(one.Elem(), other.Elem())
	case reflect.Struct:
		for i := 0; i < one.NumField(); i++ {
			if !sameWords(one.Field(i), other.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Array:
		for i := 0; i < one.Len(); i++ {
			if !sameWords(one.Index(i), other.Index(i)) {
				return false
			}
		}
		return true
	}
	return one.Equal(other)
}

// restore reads [variables, what the hook gave] and answers with [names carried, names dropped].
func restore(w *writer, r *reader) {
	var data, hook []byte
	if !r.null() {
		data = r.bytes()
	}
	carried, dropped := []string{}, []string{}
	if !r.null() {
		hook = r.bytes()
		if !registered.restore.IsValid() {
			refuse("the old version saved its state by MidflightSave, but this one has no MidflightRestore")
		}
		callRestoreHook(hook)
		carried = append(carried, "MidflightRestore")
	}
	if data != nil {
		carried, dropped = restoreVariables(data)
	}
	w.array(2)
	codecOf(reflect.TypeOf(carried)).write(w, reflect.ValueOf(carried))
	codecOf(reflect.TypeOf(dropped)).write(w, reflect.ValueOf(dropped))
}

// restoreVariables reads all before it assigns any.
func restoreVariables(data []byte) (carried, dropped []string) {
	s := &stateReader{reader: reader{data: data}, known: map[uint64]reflect.Value{}}
	made := map[string]reflect.Value{}
	carried, s.dropped = []string{}, []string{}
	for size := s.mapping(); size > 0; size-- {
		name := s.text()
		pointer, ok := registered.variables[name]
		if !ok {
			s.dropped = append(s.dropped, name)
			s.skip()
			continue
		}
		// Fields that the old version didn't have keep what this version gave them.
		value := reflect.New(pointer.Type().Elem()).Elem()
		value.Set(pointer.Elem())
		s.path = []string{name}
		s.value(value)
		made[name] = value
		carried = append(carried, name)
	}
	for name, value := range made {
		registered.variables[name].Elem().Set(value)
	}
	return carried, s.dropped
}

// ---- hooks

func callSaveHook() []byte {
	results := registered.save.Call(nil)
	if last := results[len(results)-1]; len(results) == 2 && !last.IsNil() {
		refuse("MidflightSave says: %s", last.Interface())
	}
	if data, ok := results[0].Interface().([]byte); ok {
		return data
	}
	w := newStateWriter("MidflightSave")
	value := reflect.New(results[0].Type()).Elem()
	value.Set(results[0])
	w.value(value)
	return w.buffer
}

func callRestoreHook(data []byte) {
	t := registered.restore.Type().In(0)
	argument := reflect.New(t).Elem()
	if t == reflect.TypeOf(data) {
		argument.SetBytes(data)
	} else {
		s := &stateReader{reader: reader{data: data}, known: map[uint64]reflect.Value{}, path: []string{"MidflightRestore"}}
		s.value(argument)
	}
	results := registered.restore.Call([]reflect.Value{argument})
	if len(results) == 1 && !results[0].IsNil() {
		refuse("MidflightRestore says: %s", strings.TrimSpace(results[0].Interface().(error).Error()))
	}
}
