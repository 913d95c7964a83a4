//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
)

// Plugin is an opened plugin: what it exports, and how that is found.
type Plugin struct {
	Names  []string
	Lookup func(name string) (any, error)
}

// trailer is what ends a host program: the sizes of the plugin and of the API before it, and a mark.
const trailer = 32

// ServePlugin serves the plugin that is part of this program's file; or, with the arguments "describe" and a path, tells
// what the plugin there offers.
func ServePlugin(open func(path string) (*Plugin, error)) {
	if len(os.Args) == 3 && os.Args[1] == "describe" {
		api, err := registerPlugin(os.Args[2], open)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// Behind a mark, because the plugin may have printed something.
		w := &writer{buffer: []byte("\x00midflight-api\x00")}
		writeNamed(w, reflect.ValueOf(*api))
		_, _ = os.Stdout.Write(w.buffer)
		return
	}
	Main(func() error {
		directory, err := os.MkdirTemp("", "midflight-plugin-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(directory)
		path := filepath.Join(directory, "plugin.so")
		if err := extract(path); err != nil {
			return err
		}
		_, err = registerPlugin(path, open)
		return err
	})
}

// extract writes the plugin that lies behind this program.
func extract(path string) error {
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer own.Close()
	end, err := own.Seek(-trailer, io.SeekEnd)
	if err != nil {
		return err
	}
	var sizes [16]byte
	if _, err := io.ReadFull(own, sizes[:]); err != nil {
		return err
	}
	plugin, api := int64(binary.LittleEndian.Uint64(sizes[:])), int64(binary.LittleEndian.Uint64(sizes[8:]))
	if plugin < 0 || api < 0 || plugin+api > end {
		return fmt.Errorf("the host program is damaged")
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, io.NewSectionReader(own, end-api-plugin, plugin))
	if failed := file.Close(); err == nil {
		err = failed
	}
	return err
}

func registerPlugin(path string, open func(path string) (*Plugin, error)) (*API, error) {
	found, err := open(path)
	if err != nil {
		return nil, err
	}
	SetPackage("main", "")
	api := &API{Format: 1, Package: "main", Functions: []Func{}, Variables: []Variable{}, Shapes: []Shape{}}
	d := newDescriber()
	d.registers = true
	for _, name := range found.Names {
		symbol, err := found.Lookup(name)
		if err != nil {
			return nil, err
		}
		switch value := reflect.ValueOf(symbol); value.Kind() {
		case reflect.Func:
			api.Functions = append(api.Functions, d.signature(name, value.Type(), 0))
			AddFunction(name, symbol)
		case reflect.Pointer:
			if t := value.Type().Elem(); !isSupported(t) {
				api.Skipped = append(api.Skipped, Skipped{name, "a " + typeName(t) + " can't leave Go"})
			} else {
				api.Variables = append(api.Variables, Variable{Name: name, Type: d.add(t), Exported: true, Shape: -1})
				AddVariable(name, symbol, false)
			}
		}
	}
	api.Types = d.types
	return api, nil
}
