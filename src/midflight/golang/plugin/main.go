//go:build cgo

// Command plugin is the host program of a ready-made Go plugin.
package main

import (
	"plugin"
	"reflect"
	"sort"

	midflightruntime "midflight.local/golang/runtime"
)

func main() { midflightruntime.ServePlugin(open) }

// open opens a plugin; the names of what it exports are its own affair, but reflection reads them.
func open(path string) (*midflightruntime.Plugin, error) {
	opened, err := plugin.Open(path)
	if err != nil {
		return nil, err
	}
	var names []string
	if symbols := reflect.ValueOf(opened).Elem().FieldByName("syms"); symbols.Kind() == reflect.Map {
		for _, name := range symbols.MapKeys() {
			names = append(names, name.String())
		}
	}
	sort.Strings(names)
	lookup := func(name string) (any, error) { return opened.Lookup(name) }
	return &midflightruntime.Plugin{Names: names, Lookup: lookup}, nil
}
