//go:build go1.22

// Package midflightruntime serves a Go package's functions, variables and objects to a Python program.
//
// It is compiled into the host program that midflight generates for the package.  The host maps a piece of memory that
// it shares with the Python program (channel.go), takes calls from it (slots.go) and answers them (calls.go).  What is
// called is found by reflection in what the generated code has registered here; values travel as msgpack (wire.go,
// codec.go), live ones stay here and travel as numbers (handles.go).
package midflightruntime

import "reflect"

// What the package offers.  Registered in init functions, only read later.
var registered = struct {
	packageName string
	packagePath string
	functions   []*function
	variables   map[string]reflect.Value // pointers to the variables
	state       []string                 // the variables that are carried to the next version, in order
	types       []reflect.Type
	numbers     map[reflect.Type]int
	byName      map[string]reflect.Type
	save        reflect.Value
	restore     reflect.Value
}{
	variables: map[string]reflect.Value{},
	numbers:   map[reflect.Type]int{},
	byName:    map[string]reflect.Type{},
}

// SetPackage says which package is served.
func SetPackage(name, path string) {
	registered.packageName, registered.packagePath = name, path
}

// AddFunction registers the next function.
func AddFunction(name string, value any) {
	registered.functions = append(registered.functions, newFunction(name, reflect.ValueOf(value)))
}

// AddVariable registers a variable by a pointer to it.
func AddVariable(name string, pointer any, state bool) {
	registered.variables[name] = reflect.ValueOf(pointer)
	if state {
		registered.state = append(registered.state, name)
	}
}

// AddType registers the next named type by a nil pointer to it.
func AddType(name string, pointer any) {
	t := reflect.TypeOf(pointer).Elem()
	registered.numbers[t] = len(registered.types)
	registered.types = append(registered.types, t)
	registered.byName[name] = t
}

// SetHooks registers MidflightSave and MidflightRestore, nil where the package has none.
func SetHooks(save, restore any) {
	registered.save, registered.restore = reflect.ValueOf(save), reflect.ValueOf(restore)
}
