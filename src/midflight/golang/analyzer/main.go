// Command analyzer reads a Go package's source and tells what it offers.
//
// It prints one JSON object: the API (runtime/model.go), the source of the file that registers it with the runtime, and
// what the package is made from; or the errors that a compiler would report.  It is built once by midflight with the
// installed Go, and needs nothing but that.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"

	midflightruntime "midflight.local/golang/runtime"
)

// Diagnostic is an error in the source.
type Diagnostic struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Result is what is printed.
type Result struct {
	API    *midflightruntime.API `json:"api"`
	Glue   string                `json:"glue"`
	Files  []string              `json:"files"`  // of the package itself
	Read   []string              `json:"read"`   // of other packages that may change
	Rename []Rename              `json:"rename"` // package clauses of main
	Errors []Diagnostic          `json:"errors"`
}

// Rename is the place of a package clause's name, in bytes.
type Rename struct {
	File   string `json:"file"`
	Start  int    `json:"start"`
	Length int    `json:"length"`
}

func main() {
	var request request
	flag.StringVar(&request.directory, "dir", "", "the package's directory")
	flag.StringVar(&request.file, "file", "", "the only file that counts")
	flag.StringVar(&request.path, "path", "", "the package's import path")
	flag.StringVar(&request.command, "go", "go", "the go command")
	flag.StringVar(&request.overlay, "overlay", "", "an overlay file for the go command")
	flag.StringVar(&request.listing, "listing", "", "where to keep what the go command said of imports")
	flag.StringVar(&request.tags, "tags", "", "build tags, separated by commas")
	flag.StringVar(&request.runtime, "runtime", "", "the runtime's import path")
	flag.StringVar(&request.language, "lang", "", "the language version of the module")
	flag.Parse()
	request.flags = flag.Args()
	result, err := analyze(&request)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if result.API != nil {
		result.API.Toolchain = runtime.Version()
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
