package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

type request struct {
	directory, file, path, command, overlay, listing, tags, runtime, language string
	flags                                                                     []string
}

// A loaded package: its syntax and its types.
type loaded struct {
	request *request
	set     *token.FileSet
	files   []*ast.File
	names   []string
	types   *types.Package
	errors  []Diagnostic
}

const mostErrors = 10

func analyze(request *request) (*Result, error) {
	pack := &loaded{request: request, set: token.NewFileSet()}
	result := &Result{Files: []string{}, Read: []string{}, Rename: []Rename{}, Errors: []Diagnostic{}}
	if err := pack.parse(); err != nil {
		return nil, err
	}
	result.Files = pack.names
	if len(pack.errors) == 0 {
		read, err := pack.check()
		if err != nil {
			return nil, err
		}
		if read != nil {
			result.Read = read
		}
	}
	if len(pack.errors) == 0 {
		offer := newOffer(pack)
		result.API = offer.api
		result.Glue = offer.glue()
		result.Rename = pack.renames()
	}
	result.Errors = append(result.Errors, pack.errors...)
	return result, nil
}

func (p *loaded) fail(at token.Position, message string) {
	if len(p.errors) < mostErrors {
		p.errors = append(p.errors, Diagnostic{at.Filename, at.Line, at.Column, message})
	}
}

// parse reads the files that a build for this machine would take.
func (p *loaded) parse() error {
	names, err := p.choose()
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(p.request.directory, name)
		p.names = append(p.names, path)
		file, err := parser.ParseFile(p.set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		var list scanner.ErrorList
		switch {
		case errors.As(err, &list):
			for _, one := range list {
				p.fail(one.Pos, one.Msg)
			}
		case err != nil:
			return err
		}
		if file != nil {
			p.files = append(p.files, file)
		}
	}
	return nil
}

func (p *loaded) choose() ([]string, error) {
	context := build.Default
	context.CgoEnabled = false
	if p.request.tags != "" {
		context.BuildTags = strings.Split(p.request.tags, ",")
	}
	if p.request.file != "" {
		return []string{p.request.file}, p.refuseCgo(p.request.file)
	}
	found, err := context.ImportDir(p.request.directory, 0)
	var none *build.NoGoError
	var several *build.MultiplePackageError
	switch {
	case errors.As(err, &none):
		if found != nil && len(found.IgnoredGoFiles) > 0 {
			p.refuseIgnored(found.IgnoredGoFiles)
		}
		p.fail(token.Position{}, "there are no Go files for this machine in the directory")
	case errors.As(err, &several):
		p.fail(token.Position{Filename: filepath.Join(p.request.directory, several.Files[1]), Line: 1, Column: 1},
			fmt.Sprintf("found packages %s (%s) and %s (%s) in one directory",
				several.Packages[0], several.Files[0], several.Packages[1], several.Files[1]))
	case err != nil && found == nil:
		return nil, err
	}
	if found != nil {
		p.refuseIgnored(found.IgnoredGoFiles)
		if err != nil && len(found.GoFiles) == 0 && len(p.errors) == 0 && len(found.InvalidGoFiles) == 0 {
			return nil, err
		}
		return append(append([]string{}, found.GoFiles...), notIn(found.InvalidGoFiles, found.GoFiles)...), nil
	}
	return nil, nil
}

func notIn(names, others []string) []string {
	known := map[string]bool{}
	for _, name := range others {
		known[name] = true
	}
	var left []string
	for _, name := range names {
		if !known[name] {
			left = append(left, name)
		}
	}
	return left
}

// refuseIgnored says so if a file is left out because it uses cgo, rather than because it is for another machine.
func (p *loaded) refuseIgnored(names []string) {
	for _, name := range names {
		_ = p.refuseCgo(name)
	}
}

func (p *loaded) refuseCgo(name string) error {
	path := filepath.Join(p.request.directory, name)
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		return nil // the whole file will be parsed, and its errors reported
	}
	for _, one := range file.Imports {
		if one.Path.Value == `"C"` {
			p.fail(token.Position{Filename: path, Line: 1, Column: 1}, `this file uses cgo (import "C"), which isn't served`)
		}
	}
	return nil
}

// check finds out the types, and returns the files of other packages that may change.
func (p *loaded) check() ([]string, error) {
	listing, err := p.list()
	if err != nil || len(p.errors) > 0 {
		return nil, err
	}
	lookup := func(path string) (io.ReadCloser, error) {
		file, ok := listing.Exports[path]
		if !ok {
			return nil, fmt.Errorf("package %s isn't known", path)
		}
		return os.Open(file)
	}
	configuration := types.Config{
		Importer:  importer.ForCompiler(p.set, "gc", lookup),
		Sizes:     types.SizesFor("gc", runtime.GOARCH),
		GoVersion: p.request.language,
		Error: func(err error) {
			var one types.Error
			if errors.As(err, &one) {
				p.fail(one.Fset.Position(one.Pos), strings.TrimPrefix(one.Msg, "\t"))
			}
		},
	}
	p.types, err = configuration.Check(p.request.path, p.set, p.files, nil)
	if err != nil && len(p.errors) == 0 {
		return nil, err
	}
	return listing.Local, nil
}

// imports returns what the package imports, and where.
func (p *loaded) imports() ([]string, map[string]token.Pos) {
	places := map[string]token.Pos{}
	for _, file := range p.files {
		for _, one := range file.Imports {
			path, err := strconv.Unquote(one.Path.Value)
			if _, known := places[path]; err == nil && !known && path != "unsafe" {
				places[path] = one.Path.Pos()
			}
		}
	}
	var paths []string
	for path := range places {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	return paths, places
}

// renames returns where the package is called main: nothing can import a package of that name.
func (p *loaded) renames() []Rename {
	made := []Rename{}
	for i, file := range p.files {
		if file.Name.Name == "main" {
			made = append(made, Rename{p.names[i], p.set.PositionFor(file.Name.Pos(), false).Offset, len("main")})
		}
	}
	return made
}
