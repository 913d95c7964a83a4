package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
)

// A listing is what the go command said of the imports.  It is kept in a file, because asking takes longer than all the
// rest, and holds for as long as the same things are imported and no package that may change has changed.
type listing struct {
	Toolchain string            `json:"toolchain"`
	Request   string            `json:"request"`
	Imports   []string          `json:"imports"`
	Exports   map[string]string `json:"exports"`  // import path → file of export data
	Local     []string          `json:"local"`    // files of packages that may change
	Contents  map[string]string `json:"contents"` // digests of those, and of the lists of their directories
}

type listed struct {
	ImportPath, Dir, Export                                 string
	GoFiles, EmbedFiles, SFiles, IgnoredGoFiles, OtherFiles []string
	Standard                                                bool
	Module                                                  *struct {
		Path, Dir, GoMod string
		Main             bool
		Replace          *struct{ Dir, Version string }
	}
	Error *struct {
		ImportStack []string
		Pos, Err    string
	}
}

func (p *loaded) list() (*listing, error) {
	paths, places := p.imports()
	wanted := &listing{
		Toolchain: runtime.Version(),
		Request:   strings.Join(append([]string{p.request.directory, p.request.tags, p.request.command}, p.request.flags...), "\x00"),
		Imports:   paths,
		Exports:   map[string]string{},
		Local:     []string{},
		Contents:  map[string]string{},
	}
	if len(paths) == 0 {
		return wanted, nil
	}
	if known := p.kept(wanted); known != nil {
		return known, nil
	}
	if err := p.ask(wanted, places); err != nil || len(p.errors) > 0 {
		return wanted, err
	}
	p.keep(wanted)
	return wanted, nil
}

func (p *loaded) kept(wanted *listing) *listing {
	data, err := os.ReadFile(p.request.listing)
	if err != nil {
		return nil
	}
	var known listing
	if json.Unmarshal(data, &known) != nil || known.Toolchain != wanted.Toolchain || known.Request != wanted.Request {
		return nil
	}
	have := map[string]bool{}
	for _, path := range known.Imports {
		have[path] = true
	}
	for _, path := range wanted.Imports {
		if !have[path] {
			return nil
		}
	}
	for path, digest := range known.Contents {
		if digestOf(path) != digest {
			return nil
		}
	}
	for _, file := range known.Exports {
		if _, err := os.Stat(file); err != nil {
			return nil
		}
	}
	return &known
}

// keep writes the listing; one that can't be kept costs time, not the result.
func (p *loaded) keep(made *listing) {
	data, err := json.Marshal(made)
	if err != nil || p.request.listing == "" {
		return
	}
	file, err := os.CreateTemp(filepath.Dir(p.request.listing), ".new-*")
	if err != nil {
		return
	}
	_, err = file.Write(data)
	if failed := file.Close(); err == nil && failed == nil && os.Rename(file.Name(), p.request.listing) == nil {
		return
	}
	_ = os.Remove(file.Name())
}

// digestOf returns the digest of a file's content, or of the names in a directory.
func digestOf(path string) string {
	entries, err := os.ReadDir(path)
	if err == nil {
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(names, "\x00"))))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// ask runs `go list`, which compiles the imports where they aren't compiled yet.
func (p *loaded) ask(made *listing, places map[string]token.Pos) error {
	fields := "-json=ImportPath,Dir,Export,GoFiles,EmbedFiles,SFiles,IgnoredGoFiles,Standard,Module,Error"
	arguments := []string{"list", "-e", "-deps", "-export", fields, "-trimpath"}
	if p.request.overlay != "" {
		arguments = append(arguments, "-overlay", p.request.overlay)
	}
	arguments = append(arguments, p.request.flags...)
	command := exec.Command(p.request.command, append(append(arguments, "--"), made.Imports...)...)
	command.Dir = p.request.directory
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	failed := command.Run()
	stream := json.NewDecoder(&stdout)
	for {
		var one listed
		if err := stream.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("go list: %s", strings.TrimSpace(stderr.String()))
		}
		p.note(made, &one, places)
	}
	if failed != nil && len(p.errors) == 0 {
		return fmt.Errorf("go list: %s", strings.TrimSpace(stderr.String()))
	}
	for _, path := range made.Local {
		made.Contents[path] = digestOf(path)
		made.Contents[filepath.Dir(path)] = digestOf(filepath.Dir(path))
	}
	sort.Strings(made.Local)
	return nil
}

func (p *loaded) note(made *listing, one *listed, places map[string]token.Pos) {
	if one.Error != nil {
		at := token.Position{}
		if place, ok := places[one.ImportPath]; ok {
			at = p.set.Position(place)
		}
		p.failCompiled(at, one.Error.Err, one.Dir)
	}
	if one.Export != "" {
		made.Exports[one.ImportPath] = one.Export
	}
	// What has a version never changes; the module's own packages and replaced ones do.
	isFixed := one.Standard || one.Module != nil && !one.Module.Main &&
		(one.Module.Replace == nil || one.Module.Replace.Version != "")
	if isFixed {
		return
	}
	for _, group := range [][]string{one.GoFiles, one.EmbedFiles, one.SFiles, one.IgnoredGoFiles} {
		for _, name := range group {
			made.Local = append(made.Local, filepath.Join(one.Dir, name))
		}
	}
}

// failCompiled reports what the go command says of an import: the compiler's errors in it, or why it isn't there.
func (p *loaded) failCompiled(at token.Position, text, directory string) {
	found := false
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 4)
		if len(parts) < 4 {
			continue
		}
		var number, column int
		if _, err := fmt.Sscan(parts[1], &number); err != nil {
			continue
		}
		if _, err := fmt.Sscan(parts[2], &column); err != nil {
			continue
		}
		name := parts[0]
		if !filepath.IsAbs(name) {
			// Relative to where the go command ran.
			if joined := filepath.Join(p.request.directory, name); exists(joined) {
				name = joined
			} else if joined = filepath.Join(directory, filepath.Base(name)); exists(joined) {
				name = joined
			}
		}
		p.fail(token.Position{Filename: name, Line: number, Column: column}, strings.TrimSpace(parts[3]))
		found = true
	}
	if !found {
		p.fail(at, strings.TrimSpace(text))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
