package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"

	midflightruntime "midflight.local/golang/runtime"
)

const stateDirective = "//midflight:state"

// docs are the comments of a package's declarations.
type docs struct {
	set    *token.FileSet
	texts  map[token.Pos]string
	fields map[string]string
	state  map[token.Pos]bool
}

func (d *docs) of(object types.Object) string { return d.texts[object.Pos()] }

func (d *docs) field(owner, name string) string { return d.fields[owner+"."+name] }

func (d *docs) place(object types.Object) string {
	if _, ok := d.texts[object.Pos()]; !ok {
		return ""
	}
	at := d.set.Position(object.Pos())
	return fmt.Sprintf("%s:%d", filepath.Base(at.Filename), at.Line)
}

func newDocs(p *loaded) docs {
	made := docs{p.set, map[token.Pos]string{}, map[string]string{}, map[token.Pos]bool{}}
	for _, file := range p.files {
		for _, declaration := range file.Decls {
			switch one := declaration.(type) {
			case *ast.FuncDecl:
				made.texts[one.Name.Pos()] = text(one.Doc)
			case *ast.GenDecl:
				made.declaration(one)
			}
		}
	}
	return made
}

func (d *docs) declaration(general *ast.GenDecl) {
	for _, spec := range general.Specs {
		switch one := spec.(type) {
		case *ast.TypeSpec:
			d.texts[one.Name.Pos()] = text(one.Doc, general.Doc, one.Comment)
			d.typeParts(one)
		case *ast.ValueSpec:
			for _, name := range one.Names {
				d.texts[name.Pos()] = text(one.Doc, general.Doc, one.Comment)
				d.state[name.Pos()] = isState(one.Doc, general.Doc, one.Comment)
			}
		}
	}
}

func (d *docs) typeParts(spec *ast.TypeSpec) {
	var list *ast.FieldList
	switch kind := spec.Type.(type) {
	case *ast.StructType:
		list = kind.Fields
	case *ast.InterfaceType:
		list = kind.Methods
	default:
		return
	}
	for _, field := range list.List {
		for _, name := range field.Names {
			d.texts[name.Pos()] = text(field.Doc, field.Comment)
			d.fields[spec.Name.Name+"."+name.Name] = text(field.Doc, field.Comment)
		}
	}
}

func text(groups ...*ast.CommentGroup) string {
	for _, group := range groups {
		if found := strings.TrimSpace(group.Text()); found != "" {
			return found
		}
	}
	return ""
}

func isState(groups ...*ast.CommentGroup) bool {
	for _, group := range groups {
		if group == nil {
			continue
		}
		for _, comment := range group.List {
			if strings.TrimSpace(comment.Text) == stateDirective {
				return true
			}
		}
	}
	return false
}

// An offer is what a package offers, and the registration of it.
type offer struct {
	pack   *loaded
	docs   docs
	table  *table
	shapes *shapes
	api    *midflightruntime.API
	types  []string // expressions of the types to register
}

func newOffer(p *loaded) *offer {
	found := newDocs(p)
	o := &offer{pack: p, docs: found}
	o.table = &table{own: p.types, docs: found, list: []typeInfo{}, numbers: map[string]int{}}
	o.shapes = &shapes{table: o.table, list: []midflightruntime.Shape{}, numbers: map[string]int{}}
	o.api = &midflightruntime.API{
		Format: 1, Package: p.types.Name(), Path: p.request.path, Doc: packageDoc(p.files),
		Functions: []funcInfo{}, Variables: []midflightruntime.Variable{}, Constants: []midflightruntime.Constant{},
		Skipped: []midflightruntime.Skipped{},
	}
	scope := p.types.Scope()
	for _, name := range scope.Names() {
		o.take(scope.Lookup(name))
	}
	o.registerTypes()
	o.api.Types, o.api.Shapes = o.table.list, o.shapes.list
	return o
}

func packageDoc(files []*ast.File) string {
	for _, file := range files {
		if found := text(file.Doc); found != "" {
			return found
		}
	}
	return ""
}

func (o *offer) take(object types.Object) {
	switch one := object.(type) {
	case *types.Func:
		o.function(one)
	case *types.Var:
		o.variable(one)
	case *types.Const:
		o.constant(one)
	case *types.TypeName:
		o.named(one)
	}
}

func (o *offer) skip(name, format string, arguments ...any) {
	o.api.Skipped = append(o.api.Skipped, midflightruntime.Skipped{Name: name, Why: fmt.Sprintf(format, arguments...)})
}

func (o *offer) function(one *types.Func) {
	if !one.Exported() || o.hook(one) {
		return
	}
	signature := one.Type().(*types.Signature)
	if signature.TypeParams().Len() > 0 {
		o.skip(one.Name(), "it is generic, and only what has its types can be called; export an instance of it: "+
			"a function that calls %s with the types that are wanted", one.Name())
		return
	}
	made := o.table.signature(one.Name(), signature)
	made.Doc, made.Place = o.docs.of(one), o.docs.place(one)
	o.api.Functions = append(o.api.Functions, made)
}

// hook takes MidflightSave and MidflightRestore, which aren't for callers.
func (o *offer) hook(one *types.Func) bool {
	name := one.Name()
	if name != "MidflightSave" && name != "MidflightRestore" {
		return false
	}
	signature := one.Type().(*types.Signature)
	params, results := signature.Params(), signature.Results()
	failing := func(at int) bool {
		return results.Len() == at || results.Len() == at+1 && isError(results.At(at).Type())
	}
	good := params.Len() == 0 && results.Len() > 0 && !isError(results.At(0).Type()) && failing(1)
	wanted := "func MidflightSave() ([]byte, error), or with another type of data"
	if name == "MidflightRestore" {
		good = params.Len() == 1 && !signature.Variadic() && failing(0)
		wanted = "func MidflightRestore(data []byte) error, or with another type of data"
	}
	if !good || signature.TypeParams().Len() > 0 {
		o.pack.fail(o.docs.set.Position(one.Pos()), name+" has another form than "+wanted)
	}
	o.api.SaveHook = o.api.SaveHook || name == "MidflightSave"
	o.api.RestoreHook = o.api.RestoreHook || name == "MidflightRestore"
	return true
}

func (o *offer) variable(one *types.Var) {
	state := o.docs.state[one.Pos()]
	if !one.Exported() && !state || one.Name() == "_" {
		return
	}
	if !isSupported(one.Type()) {
		o.skip(one.Name(), "a %s can't leave Go", o.table.spell(one.Type()))
		return
	}
	o.api.Variables = append(o.api.Variables, midflightruntime.Variable{
		Name: one.Name(), Type: o.table.add(one.Type()), Doc: o.docs.of(one), Exported: one.Exported(), State: true,
		Shape: o.shapes.add(one.Type()),
	})
}

func (o *offer) constant(one *types.Const) {
	if !one.Exported() {
		return
	}
	value := one.Val()
	shown := value.ExactString()
	switch value.Kind() {
	case constant.String:
		shown = constant.StringVal(value)
	case constant.Float:
		float, _ := constant.Float64Val(value)
		shown = fmt.Sprint(float)
	case constant.Complex:
		re, _ := constant.Float64Val(constant.Real(value))
		im, _ := constant.Float64Val(constant.Imag(value))
		shown = fmt.Sprint(re, " ", im)
	}
	kind := types.Default(one.Type())
	if basic, ok := kind.Underlying().(*types.Basic); ok && basic.Info()&types.IsFloat != 0 {
		float, _ := constant.Float64Val(constant.ToFloat(value))
		shown = fmt.Sprint(float)
	}
	o.api.Constants = append(o.api.Constants, midflightruntime.Constant{
		Name: one.Name(), Type: o.table.add(kind), Value: shown, Doc: o.docs.of(one),
	})
}

// named takes the package's types: exported ones belong to the API, and those with methods may come out as objects.
func (o *offer) named(one *types.TypeName) {
	kind, ok := types.Unalias(one.Type()).(*types.Named)
	if !ok || one.IsAlias() {
		return
	}
	if kind.TypeParams().Len() > 0 {
		if one.Exported() {
			o.skip(one.Name(), "it is generic, and only its instances can be used: export a function that returns one")
		}
		return
	}
	if !isSupported(kind) {
		if one.Exported() {
			o.skip(one.Name(), "a %s can't leave Go", o.table.spell(kind.Underlying()))
		}
		return
	}
	o.table.add(kind)
	if exportedMethods(types.NewPointer(kind)) > 0 && !types.IsInterface(kind) {
		o.table.add(types.NewPointer(kind))
	}
}

// ---- registration

// registerTypes numbers the named types that the generated file can name.
func (o *offer) registerTypes() {
	seen := map[string]bool{}
	for i := 0; i < len(o.table.used); i++ {
		named := o.table.used[i]
		key := types.TypeString(named, nil)
		if seen[key] || types.IsInterface(named) || !o.isNameable(named) {
			continue
		}
		seen[key] = true
		number, ok := o.table.numbers[key]
		if ok {
			o.table.list[number].Number = len(o.types)
		}
		o.types = append(o.types, fmt.Sprintf("\t%s.AddType(%q, (*%s)(nil))\n", alias, o.table.spell(named), o.expression(named)))
	}
}

// isNameable tells whether the package's own source could write a type: it imports where it is from.
func (o *offer) isNameable(one types.Type) bool {
	named, ok := types.Unalias(one).(*types.Named)
	if !ok {
		_, basic := types.Unalias(one).(*types.Basic)
		return basic
	}
	for i := 0; i < named.TypeArgs().Len(); i++ {
		if !o.isNameable(named.TypeArgs().At(i)) {
			return false
		}
	}
	object := named.Obj()
	if object.Parent() != nil && object.Pkg() != nil && object.Parent() != object.Pkg().Scope() {
		return false
	}
	if object.Pkg() == nil || object.Pkg() == o.pack.types {
		return true
	}
	_, places := o.pack.imports()
	_, imported := places[object.Pkg().Path()]
	return imported && object.Exported()
}

const alias = "midflightruntime_"

func importAlias(path string) string {
	return "midflight_" + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, path)
}

func (o *offer) expression(one types.Type) string {
	return types.TypeString(one, func(other *types.Package) string {
		if other == o.pack.types {
			return ""
		}
		return importAlias(other.Path())
	})
}

// glue writes the file that is added to the package.
func (o *offer) glue() string {
	var body strings.Builder
	add := func(format string, arguments ...any) { fmt.Fprintf(&body, format, arguments...) }
	name := o.packageName()
	add("func init() {\n\t%s.SetPackage(%q, %q)\n", alias, name, o.pack.request.path)
	for _, one := range o.types {
		body.WriteString(one)
	}
	for _, one := range o.api.Functions {
		add("\t%s.AddFunction(%q, %s)\n", alias, one.Name, one.Name)
	}
	for _, one := range o.api.Variables {
		add("\t%s.AddVariable(%q, &%s, %t)\n", alias, one.Name, one.Name, one.State)
	}
	save, restore := "nil", "nil"
	if o.api.SaveHook {
		save = "MidflightSave"
	}
	if o.api.RestoreHook {
		restore = "MidflightRestore"
	}
	add("\t%s.SetHooks(%s, %s)\n}\n", alias, save, restore)
	return fmt.Sprintf("// Generated by midflight.\n\npackage %s\n\nimport (\n\t%s %q\n%s)\n\n%s",
		name, alias, o.pack.request.runtime, o.otherImports(), body.String())
}

func (o *offer) otherImports() string {
	paths, _ := o.pack.imports()
	var lines string
	all := strings.Join(o.types, "")
	for _, path := range paths {
		if name := importAlias(path); strings.Contains(all, name+".") {
			lines += fmt.Sprintf("\t%s %q\n", name, path)
		}
	}
	return lines
}

// packageName is what the package is called in the host program.
func (o *offer) packageName() string {
	if name := o.pack.types.Name(); name != "main" {
		return name
	}
	return renamed
}

const renamed = "main_"
