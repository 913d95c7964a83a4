//go:build go1.22

package midflightruntime

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
)

// What a message asks for.  Numbers below firstOperation call the function of that number.
const (
	firstOperation = 1 << 32
	opMethod       = firstOperation + iota // [receiver, name, (timeout, cancellation,) arguments…]
	opRead                                 // [variable]
	opWrite                                // [variable, value]
	opReadField                            // [object, field]
	opWriteField                           // [object, field, value]
	opRelease                              // [numbers…]
	opDescribe                             // [number of a dynamic type]
	opSave                                 // []
	opRestore                              // [saved]
	opCall                                 // [func, (timeout, cancellation,) arguments…]
)

// Answers begin with one of these.
const (
	answerValue    = 0 // [0, results, {argument: its value after the call}]
	answerError    = 1 // [1, text, type, texts wrapped, results]
	answerPanic    = 2 // [2, text, type, stack]
	answerMisfit   = 3 // [3, text]
	answerCallback = 4 // [4, number of the callback's exception]
)

// A function is something that can be called, with the codecs of what goes in and out.
type function struct {
	name   string
	value  reflect.Value
	once   sync.Once
	plan   plan
	method bool
}

type plan struct {
	in       []reflect.Type
	reads    []*codec
	writes   []*codec
	back     []int // parameters that point to data, whose changes go back
	context  bool
	variadic bool
	failing  bool // the last result is an error
}

func newFunction(name string, value reflect.Value) *function {
	return &function{name: name, value: value}
}

// prepared returns the plan.  It is made at the first call: a program that starts has other things to do.
func (f *function) prepared() *plan {
	f.once.Do(func() { f.plan = newPlan(f.value.Type()) })
	return &f.plan
}

func newPlan(t reflect.Type) plan {
	made := plan{variadic: t.IsVariadic()}
	for i := 0; i < t.NumIn(); i++ {
		in := t.In(i)
		if i == 0 && in == contextType {
			made.context = true
			continue
		}
		if in.Kind() == reflect.Pointer && in.Elem().Kind() == reflect.Struct && !isHandle(in) {
			made.back = append(made.back, len(made.in))
		}
		made.in = append(made.in, in)
		made.reads = append(made.reads, codecOf(in))
	}
	for i := 0; i < t.NumOut(); i++ {
		if i == t.NumOut()-1 && t.Out(i) == errorType {
			made.failing = true
			break
		}
		made.writes = append(made.writes, codecOf(t.Out(i)))
	}
	return made
}

// A call is one message that is being served, and the calls made from inside it.
type call struct {
	slot  *slot
	mutex sync.Mutex // the slot belongs to one goroutine at a time; protects over, too
	over  bool
}

// answerTo serves one message and appends its answer to the writer.
func (c *call) answerTo(w *writer, number uint64, payload []byte) {
	start := len(w.buffer)
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		w.buffer, w.depth = w.buffer[:start], 0
		switch reason := reason.(type) {
		case misfit:
			w.array(2)
			w.uint(answerMisfit)
			w.text(reason.text)
		case *callbackFailure:
			w.array(2)
			w.uint(answerCallback)
			w.uint(reason.number)
		default:
			w.array(4)
			w.uint(answerPanic)
			w.text(fmt.Sprint(reason))
			w.text(typeName(reflect.TypeOf(reason)))
			w.text(ownStack(debug.Stack()))
		}
	}()
	r := &reader{data: payload, call: c}
	size := r.array()
	if number < firstOperation {
		if number >= uint64(len(registered.functions)) {
			refuse("there is no function number %d", number)
		}
		f := registered.functions[number]
		c.run(w, r, f.prepared(), f.value, size)
		return
	}
	c.operate(w, r, number, size)
}

func (c *call) operate(w *writer, r *reader, number uint64, size int) {
	need := func(wanted int) {
		if size < wanted {
			refuse("the message is cut off")
		}
	}
	switch number {
	case opMethod:
		need(2)
		c.runMethod(w, r, size-2)
	case opCall:
		need(1)
		value := liveValue(r)
		if value.Kind() != reflect.Func {
			refuse("a %s can't be called", typeName(value.Type()))
		}
		made := newPlan(value.Type())
		c.run(w, r, &made, value, size-1)
	case opRead:
		need(1)
		value := variable(r.text()).Elem()
		w.single(func() { codecOf(value.Type()).write(w, value) })
	case opWrite:
		need(2)
		assign(r, variable(r.text()).Elem())
		w.single(w.null)
	case opReadField:
		need(2)
		value := field(liveValue(r), r.text())
		w.single(func() { codecOf(value.Type()).write(w, value) })
	case opWriteField:
		need(3)
		assign(r, field(liveValue(r), r.text()))
		w.single(w.null)
	case opRelease:
		for i := 0; i < size; i++ {
			bits, _ := r.integer()
			release(bits)
		}
		w.single(w.null)
	case opDescribe:
		need(1)
		bits, _ := r.integer()
		w.single(func() { describe(w, dynamicType(bits)) })
	case opSave:
		w.single(func() { save(w) })
	case opRestore:
		need(2)
		w.single(func() { restore(w, r) })
	default:
		refuse("there is no operation number %d", number)
	}
}

// single writes an answer with one result.
func (w *writer) single(fill func()) {
	w.array(3)
	w.uint(answerValue)
	w.array(1)
	fill()
	w.mapping(0)
}

// assign reads a whole value before any of it is assigned.
func assign(r *reader, target reflect.Value) {
	made := reflect.New(target.Type()).Elem()
	codecOf(target.Type()).read(r, made)
	target.Set(made)
}

func variable(name string) reflect.Value {
	found, ok := registered.variables[name]
	if !ok {
		refuse("there is no variable %s", name)
	}
	return found
}

func liveValue(r *reader) reflect.Value {
	kind, data, ok := r.extension()
	if !ok || kind != extHandle {
		refuse("an object was expected")
	}
	return handleNumbered(data)
}

func field(object reflect.Value, name string) reflect.Value {
	for object.Kind() == reflect.Pointer && !object.IsNil() {
		object = object.Elem()
	}
	if object.Kind() == reflect.Struct {
		if found, ok := object.Type().FieldByName(name); ok && found.IsExported() {
			return object.FieldByIndex(found.Index)
		}
	}
	refuse("%s has no field %s", typeName(object.Type()), name)
	return reflect.Value{}
}

// runMethod calls a method of an object, or of a value that Python has and sends along.
func (c *call) runMethod(w *writer, r *reader, size int) {
	kind, data, ok := r.extension()
	if !ok {
		refuse("an object was expected")
	}
	var receiver reflect.Value
	switch kind {
	case extHandle:
		receiver = handleNumbered(data)
	case extTyped:
		receiver = r.typed(data)
	default:
		refuse("an object was expected")
	}
	name := r.text()
	method := receiver.MethodByName(name)
	if !method.IsValid() {
		refuse("%s has no method %s", typeName(receiver.Type()), name)
	}
	made := methodPlan(receiver.Type(), name, method)
	if kind == extHandle {
		c.run(w, r, made, method, size)
		return
	}
	// The method may have changed the value: its new content goes back under the number -1.
	c.runWith(w, r, made, method, size, func() { codecOf(receiver.Type().Elem()).write(w, receiver.Elem()) })
}

var methodPlans sync.Map // methodKey → *plan

type methodKey struct {
	receiver reflect.Type
	name     string
}

func methodPlan(receiver reflect.Type, name string, method reflect.Value) *plan {
	key := methodKey{receiver, name}
	if found, ok := methodPlans.Load(key); ok {
		return found.(*plan)
	}
	made := newPlan(method.Type())
	methodPlans.Store(key, &made)
	return &made
}

func (c *call) run(w *writer, r *reader, p *plan, callee reflect.Value, size int) {
	c.runWith(w, r, p, callee, size, nil)
}

// runWith reads the arguments (what is for a context comes first), calls, and writes the answer.
func (c *call) runWith(w *writer, r *reader, p *plan, callee reflect.Value, size int, after func()) {
	arguments := make([]reflect.Value, 0, len(p.in)+1)
	if p.context {
		if size < 2 {
			refuse("the message is cut off")
		}
		size -= 2
		made, cancel := readContext(r)
		defer cancel()
		arguments = append(arguments, reflect.ValueOf(made))
	}
	if size != len(p.in) {
		refuse("%d arguments were expected, not %d", len(p.in), size)
	}
	for i, in := range p.in {
		argument := reflect.New(in).Elem()
		p.reads[i].read(r, argument)
		arguments = append(arguments, argument)
	}
	var results []reflect.Value
	if p.variadic {
		results = callee.CallSlice(arguments)
	} else {
		results = callee.Call(arguments)
	}
	if p.failing {
		last := results[len(results)-1]
		results = results[:len(results)-1]
		if !last.IsNil() {
			p.fail(w, last.Interface().(error), results)
			return
		}
	}
	w.array(3)
	w.uint(answerValue)
	w.array(len(results))
	for i, result := range results {
		p.writes[i].write(w, result)
	}
	p.writeBack(w, arguments[len(arguments)-len(p.in):], after)
}

func (p *plan) writeBack(w *writer, arguments []reflect.Value, after func()) {
	count := 0
	for _, i := range p.back {
		if !arguments[i].IsNil() {
			count++
		}
	}
	if after != nil {
		count++
	}
	w.mapping(count)
	for _, i := range p.back {
		if !arguments[i].IsNil() {
			w.int(int64(i))
			codecOf(arguments[i].Type().Elem()).write(w, arguments[i].Elem())
		}
	}
	if after != nil {
		w.int(-1)
		after()
	}
}

// fail answers with an error that the function returned, and what else it returned.
func (p *plan) fail(w *writer, err error, results []reflect.Value) {
	var failure *callbackFailure
	if errors.As(err, &failure) {
		panic(failure)
	}
	w.array(5)
	w.uint(answerError)
	w.errorParts(err)
	w.array(len(results))
	for i, result := range results {
		p.writes[i].write(w, result)
	}
}
