package main

import (
	"go/token"
	"go/types"

	midflightruntime "midflight.local/golang/runtime"
)

// shapes tells what variables of state are made of, unexported fields included: `midflight diff` says by it what becomes
// of them at a swap.  The kinds are those that state_writer.go of the runtime tells apart.
type shapes struct {
	table   *table
	list    []midflightruntime.Shape
	numbers map[string]int
}

func (s *shapes) add(one types.Type) int {
	one = types.Unalias(one)
	key := types.TypeString(one, nil)
	if number, ok := s.numbers[key]; ok {
		return number
	}
	number := len(s.list)
	s.numbers[key] = number
	s.list = append(s.list, midflightruntime.Shape{})
	s.list[number] = s.describe(one)
	return number
}

func (s *shapes) describe(one types.Type) midflightruntime.Shape {
	made := midflightruntime.Shape{Text: s.table.spell(one), Elem: -1, Key: -1, Fields: []midflightruntime.Field{}}
	switch under := one.Underlying().(type) {
	case *types.Basic:
		made.Kind, made.Bits = basicKind(under)
		if under.Kind() == types.UnsafePointer {
			made.Kind = "code"
		}
	case *types.Slice:
		made.Kind, made.Elem = "slice", s.add(under.Elem())
		if isByte(under.Elem()) {
			made.Kind = "bytes"
		}
	case *types.Array:
		made.Kind, made.Elem, made.Length = "array", s.add(under.Elem()), int(under.Len())
	case *types.Map:
		made.Kind, made.Key, made.Elem = "map", s.add(under.Key()), s.add(under.Elem())
	case *types.Pointer:
		made.Kind, made.Elem = "pointer", s.add(under.Elem())
	case *types.Struct:
		made.Kind = "struct"
		if isMarshaled(one, under) {
			made.Kind = "marshaled"
		} else {
			made.Fields = s.fields(under)
		}
	case *types.Interface:
		made.Kind = "any"
	default: // functions and channels belong to their version
		made.Kind = "code"
	}
	return made
}

func (s *shapes) fields(structure *types.Struct) []midflightruntime.Field {
	made := []midflightruntime.Field{}
	for i := 0; i < structure.NumFields(); i++ {
		field := structure.Field(i)
		if field.Name() != "_" && !midflightruntime.IsLeftOut(types.TypeString(field.Type(), packageName)) {
			made = append(made, midflightruntime.Field{Name: field.Name(), Type: s.add(field.Type())})
		}
	}
	return made
}

func packageName(one *types.Package) string { return one.Name() }

// isMarshaled is runtime/state.go's function of that name.
func isMarshaled(one types.Type, structure *types.Struct) bool {
	return !isData(structure) && hasMethod(one, "MarshalBinary") && hasMethod(one, "UnmarshalBinary")
}

func hasMethod(one types.Type, name string) bool {
	object, _, _ := types.LookupFieldOrMethod(types.NewPointer(one), true, nil, name)
	method, ok := object.(*types.Func)
	return ok && method.Pos() != token.NoPos
}
