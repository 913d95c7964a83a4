package main

import (
	"go/types"
	"strings"

	midflightruntime "midflight.local/golang/runtime"
)

type (
	typeInfo = midflightruntime.Type
	funcInfo = midflightruntime.Func
)

// A table tells of types, as describe.go of the runtime does by reflection.
type table struct {
	own     *types.Package
	docs    docs
	list    []typeInfo
	numbers map[string]int // by the type's full spelling
	used    []*types.Named // named types in order of their first use, for the registration
}

func (t *table) spell(one types.Type) string {
	return types.TypeString(one, func(other *types.Package) string {
		if other == t.own {
			return ""
		}
		return other.Name()
	})
}

// add returns the number of a type in the list.
func (t *table) add(one types.Type) int {
	one = types.Unalias(one)
	key := types.TypeString(one, nil)
	if number, ok := t.numbers[key]; ok {
		return number
	}
	number := len(t.list)
	t.numbers[key] = number
	t.list = append(t.list, typeInfo{})
	t.list[number] = t.describe(one)
	return number
}

func (t *table) describe(one types.Type) typeInfo {
	made := midflightruntime.NewType(t.full(one, map[string]bool{}))
	named, _ := one.(*types.Named)
	if named != nil && named.Obj().Pkg() != nil {
		made.Name = t.spell(one)
		made.Doc = t.docs.of(named.Obj())
		t.used = append(t.used, named)
	}
	switch {
	case isError(one):
		made.Kind = "error"
		return made
	case isContext(one):
		made.Kind = "context"
		return made
	case isHandle(one):
		t.object(one, &made)
		return made
	case !isSupported(one):
		made.Kind, made.Why = "unsupported", "a "+t.spell(one)+" can't leave Go"
		return made
	}
	t.data(one, &made)
	if made.Name != "" {
		made.Methods = t.methods(types.NewPointer(one))
	}
	return made
}

func (t *table) object(one types.Type, made *typeInfo) {
	made.Kind = "object"
	element := one
	receiver := one
	if pointer, ok := one.Underlying().(*types.Pointer); ok {
		element = types.Unalias(pointer.Elem())
	} else if _, ok := one.Underlying().(*types.Struct); ok {
		receiver = types.NewPointer(one)
	}
	made.Methods = t.methods(receiver)
	if named, ok := element.(*types.Named); ok {
		made.Name = t.spell(element)
		made.Doc = t.docs.of(named.Obj())
		t.used = append(t.used, named)
	}
	if structure, ok := element.Underlying().(*types.Struct); ok {
		made.Fields = t.fields(element, structure)
		if isData(structure) {
			made.Elem = t.add(element)
		}
	}
	if signature, ok := one.Underlying().(*types.Signature); ok {
		made.Signature = []funcInfo{t.signature("", signature)}
	}
}

func (t *table) data(one types.Type, made *typeInfo) {
	switch under := one.Underlying().(type) {
	case *types.Basic:
		made.Kind, made.Bits = basicKind(under)
	case *types.Slice:
		made.Kind, made.Elem = "slice", t.add(under.Elem())
		if isByte(under.Elem()) {
			made.Kind = "bytes"
		}
	case *types.Array:
		made.Kind, made.Elem, made.Length = "array", t.add(under.Elem()), int(under.Len())
		if isByte(under.Elem()) {
			made.Kind = "bytes"
		}
	case *types.Map:
		made.Kind, made.Key, made.Elem = "map", t.add(under.Key()), t.add(under.Elem())
	case *types.Struct:
		made.Kind, made.Fields = "struct", t.fields(one, under)
	case *types.Pointer:
		made.Kind, made.Elem = "pointer", t.add(under.Elem())
	case *types.Signature:
		made.Kind, made.Signature = "func", []funcInfo{t.signature("", under)}
	case *types.Interface:
		made.Kind = "any"
	}
}

func basicKind(basic *types.Basic) (kind string, bits int) {
	bits = int(8 * types.SizesFor("gc", "amd64").Sizeof(basic))
	switch info := basic.Info(); {
	case info&types.IsBoolean != 0:
		return "bool", 0
	case info&types.IsUnsigned != 0:
		return "uint", bits
	case info&types.IsInteger != 0:
		return "int", bits
	case info&types.IsFloat != 0:
		return "float", bits
	case info&types.IsComplex != 0:
		return "complex", bits
	}
	return "string", 0
}

func isByte(one types.Type) bool {
	basic, ok := one.Underlying().(*types.Basic)
	return ok && basic.Kind() == types.Uint8
}

func (t *table) fields(owner types.Type, structure *types.Struct) []midflightruntime.Field {
	made := []midflightruntime.Field{}
	for i := 0; i < structure.NumFields(); i++ {
		if field := structure.Field(i); field.Exported() {
			doc := ""
			if named, ok := owner.(*types.Named); ok {
				doc = t.docs.field(named.Obj().Name(), field.Name())
			}
			made = append(made, midflightruntime.Field{Name: field.Name(), Type: t.add(field.Type()), Doc: doc})
		}
	}
	return made
}

func (t *table) methods(receiver types.Type) []funcInfo {
	made := []funcInfo{}
	set := types.NewMethodSet(receiver)
	for i := 0; i < set.Len(); i++ {
		method := set.At(i).Obj().(*types.Func)
		if !method.Exported() || strings.HasPrefix(method.Name(), "Midflight") {
			continue
		}
		info := t.signature(method.Name(), method.Type().(*types.Signature))
		info.Doc, info.Place = t.docs.of(method), t.docs.place(method)
		made = append(made, info)
	}
	return made
}

func (t *table) signature(name string, signature *types.Signature) funcInfo {
	made := midflightruntime.NewFunc(name, signature.Variadic())
	params, results := signature.Params(), signature.Results()
	for i := 0; i < params.Len(); i++ {
		param := params.At(i)
		if i == 0 && isContext(param.Type()) {
			made.Context = true
			continue
		}
		made.Params = append(made.Params, midflightruntime.Param{Name: param.Name(), Type: t.add(param.Type())})
		t.refuse(&made, param.Type())
	}
	for i := 0; i < results.Len(); i++ {
		result := results.At(i)
		if i == results.Len()-1 && isError(result.Type()) {
			made.Error = true
			break
		}
		made.Results = append(made.Results, midflightruntime.Param{Name: result.Name(), Type: t.add(result.Type())})
		t.refuse(&made, result.Type())
	}
	return made
}

func (t *table) refuse(info *funcInfo, one types.Type) {
	if !isSupported(one) {
		info.Why = "a " + t.spell(one) + " can't cross the border between Go and Python"
	}
}

// ---- the rules (runtime/kinds.go has the same ones)

func isError(one types.Type) bool {
	return types.Identical(one, types.Universe.Lookup("error").Type())
}

func isContext(one types.Type) bool {
	named, ok := types.Unalias(one).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "context" && named.Obj().Name() == "Context"
}

func exportedMethods(one types.Type) int {
	count := 0
	set := types.NewMethodSet(one)
	for i := 0; i < set.Len(); i++ {
		if set.At(i).Obj().Exported() {
			count++
		}
	}
	return count
}

func isNamed(one types.Type) bool {
	switch types.Unalias(one).(type) {
	case *types.Named, *types.Basic:
		return true
	}
	return false
}

func isHandle(one types.Type) bool {
	switch under := one.Underlying().(type) {
	case *types.Interface:
		return !isError(one) && under.NumMethods() > 0
	case *types.Pointer:
		element := under.Elem()
		if types.IsInterface(element) || isNamed(element) && exportedMethods(one) > 0 {
			return true
		}
		structure, ok := element.Underlying().(*types.Struct)
		return ok && !isData(structure) || !isSupported(element)
	case *types.Struct:
		return !isData(under)
	case *types.Signature:
		return isNamed(one) && exportedMethods(one) > 0
	}
	return false
}

func isSupported(one types.Type) bool {
	switch under := one.Underlying().(type) {
	case *types.Chan:
		return false
	case *types.Basic:
		return under.Kind() != types.UnsafePointer
	case *types.Slice:
		return isSupported(under.Elem())
	case *types.Array:
		return isSupported(under.Elem())
	case *types.Map:
		return isSupported(under.Key()) && isSupported(under.Elem())
	}
	return true
}

func isData(structure *types.Struct) bool {
	for i := 0; i < structure.NumFields(); i++ {
		if field := structure.Field(i); !field.Exported() || !isSupported(field.Type()) {
			return false
		}
	}
	return true
}

// ---- spelling

// full spells a type with what is in the structs and interfaces that it names: two versions' types are the same type for
// callers if they are spelled the same.
func (t *table) full(one types.Type, seen map[string]bool) string {
	one = types.Unalias(one)
	inner := func(other types.Type) string { return t.full(other, seen) }
	switch kind := one.(type) {
	case *types.Named:
		name := t.spell(one)
		if seen[name] || kind.Obj().Pkg() == nil {
			return name
		}
		seen[name] = true
		switch kind.Underlying().(type) {
		case *types.Struct:
			if !isHandle(one) {
				return name + " " + inner(kind.Underlying())
			}
			return name
		case *types.Interface:
			if kind.Obj().Pkg() == t.own {
				return name + " " + t.spell(kind.Underlying())
			}
			return name
		}
		return name + " " + inner(kind.Underlying())
	case *types.Pointer:
		return "*" + inner(kind.Elem())
	case *types.Slice:
		return "[]" + inner(kind.Elem())
	case *types.Array:
		return strings.SplitAfter(t.spell(kind), "]")[0] + inner(kind.Elem())
	case *types.Map:
		return "map[" + inner(kind.Key()) + "]" + inner(kind.Elem())
	case *types.Struct:
		var parts []string
		for i := 0; i < kind.NumFields(); i++ {
			parts = append(parts, kind.Field(i).Name()+" "+inner(kind.Field(i).Type()))
		}
		return "struct{" + strings.Join(parts, "; ") + "}"
	}
	return t.spell(one)
}
