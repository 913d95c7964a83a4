// Package main greets.  It is plain Go: nothing in it knows of Python or of midflight.
package main

// A Greeter greets.
type Greeter interface {
	// Greet returns a greeting.
	Greet() string
}

// MyGreeter is the greeter of this version.
type MyGreeter struct{}

// Greet greets the world.
func (MyGreeter) Greet() string { return "Hello, world!" }

// NewGreeter returns the greeter of this version.
func NewGreeter() Greeter { return MyGreeter{} }

type greeting string

// Greet greets whoever the value names.
func (g greeting) Greet() string { return "Hello, " + string(g) + "!" }

// G greets the universe.
var G greeting = "universe"
