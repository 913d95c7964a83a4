//go:build go1.22

package midflightruntime

// What is told of a package: by the analyzer, which reads source, as JSON appended to the host program; by describe,
// which looks at a living value, as msgpack.  The Python side has the same structs in lanes/go/model.py.

// API is all that a package offers.
type API struct {
	Format      int        `json:"format"`
	Toolchain   string     `json:"toolchain"`
	Package     string     `json:"package"`
	Path        string     `json:"path"`
	Doc         string     `json:"doc"`
	Types       []Type     `json:"types"`
	Shapes      []Shape    `json:"shapes"` // of the variables that are carried, and of what those lead to
	Functions   []Func     `json:"functions"`
	Variables   []Variable `json:"variables"`
	Constants   []Constant `json:"constants"`
	Skipped     []Skipped  `json:"skipped"`
	SaveHook    bool       `json:"save_hook"`
	RestoreHook bool       `json:"restore_hook"`
}

// Type is a type; others are referred to by their place in the list, -1 for none.
//
// Kind is one of bool, int, uint, float, complex, string, bytes, slice, array, map, struct, pointer, object (a value
// that stays in Go), func, any, error, context and unsupported (Why says why).
type Type struct {
	Kind      string  `json:"kind"`
	Name      string  `json:"name"` // of a named type, without the star of a pointer
	Text      string  `json:"text"` // as Go spells it; structs and interfaces with what is in them
	Doc       string  `json:"doc"`
	Why       string  `json:"why"`
	Bits      int     `json:"bits"`
	Length    int     `json:"length"`
	Elem      int     `json:"elem"`
	Key       int     `json:"key"`
	Number    int     `json:"number"` // under which the runtime knows it, if it can be sent with its type
	Fields    []Field `json:"fields"`
	Methods   []Func  `json:"methods"`
	Signature []Func  `json:"signature"` // of a func: one
}

// Field is an exported field of a struct.
type Field struct {
	Name string `json:"name"`
	Type int    `json:"type"`
	Doc  string `json:"doc"`
}

// Func is a function, a method or the type of a func.
type Func struct {
	Name     string  `json:"name"`
	Doc      string  `json:"doc"`
	Params   []Param `json:"params"`  // without a context that comes first
	Results  []Param `json:"results"` // without an error that comes last
	Variadic bool    `json:"variadic"`
	Context  bool    `json:"context"`
	Error    bool    `json:"error"`
	Why      string  `json:"why"` // it can't be called, if not empty
	Place    string  `json:"place"`
}

// Param is a parameter or a result.
type Param struct {
	Name string `json:"name"`
	Type int    `json:"type"`
}

// Variable is a variable of the package.
type Variable struct {
	Name     string `json:"name"`
	Type     int    `json:"type"`
	Doc      string `json:"doc"`
	Exported bool   `json:"exported"`
	State    bool   `json:"state"`
	Shape    int    `json:"shape"`
}

// Shape is what is carried of a type; others are referred to by their place in the list, -1 for none.
//
// Kind is one of bool, int, uint, float, complex, string, bytes, slice, array, map, pointer, struct, marshaled (a struct
// that writes itself), any (an interface) and code (what can't be carried).
type Shape struct {
	Kind   string  `json:"kind"`
	Text   string  `json:"text"`
	Bits   int     `json:"bits"`
	Length int     `json:"length"`
	Elem   int     `json:"elem"`
	Key    int     `json:"key"`
	Fields []Field `json:"fields"`
}

// Constant is an exported constant; Value is what Go's compiler makes of it, as text.
type Constant struct {
	Name  string `json:"name"`
	Type  int    `json:"type"`
	Value string `json:"value"`
	Doc   string `json:"doc"`
}

// Skipped is an exported name that can't be served, and why.
type Skipped struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// NewType returns a type that refers to no others, with lists that aren't nil: JSON would have null for them.
func NewType(text string) Type {
	return Type{Text: text, Elem: -1, Key: -1, Number: -1, Fields: []Field{}, Methods: []Func{}, Signature: []Func{}}
}

// NewFunc returns a function without parameters and results.
func NewFunc(name string, variadic bool) Func {
	return Func{Name: name, Variadic: variadic, Params: []Param{}, Results: []Param{}}
}
