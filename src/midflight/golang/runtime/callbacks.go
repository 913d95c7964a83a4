//go:build go1.22

package midflightruntime

import (
	"fmt"
	"reflect"
)

// A callbackFailure is an exception that a Python callable raised: an error where the Go function type returns one, a
// panic where it doesn't.  When it leaves the call, Python raises the very exception again.
type callbackFailure struct {
	number uint64
	text   string
}

func (f *callbackFailure) Error() string { return f.text }

// readFunc reads a func: one that Go handed out before, or a Python callable.
func readFunc(r *reader, v reflect.Value) {
	if r.null() {
		v.SetZero()
		return
	}
	start := r.at
	if kind, data, ok := r.extension(); ok && kind == extCallback {
		v.Set(pythonFunc(v.Type(), r.call, numberIn(data)))
		return
	}
	r.at = start
	readHandle(r, v)
}

// pythonFunc makes a Go func that calls a Python callable.  It may be called from any goroutine while the call that
// brought it is under way.
func pythonFunc(t reflect.Type, c *call, number uint64) reflect.Value {
	ins, outs := make([]*codec, t.NumIn()), make([]*codec, t.NumOut())
	for i := range ins {
		ins[i] = codecOf(t.In(i))
	}
	for i := range outs {
		outs[i] = codecOf(t.Out(i))
	}
	failing := len(outs) > 0 && t.Out(len(outs)-1) == errorType
	return reflect.MakeFunc(t, func(arguments []reflect.Value) []reflect.Value {
		w := &writer{}
		w.array(len(arguments))
		for i, argument := range arguments {
			if t.In(i) == contextType {
				w.null()
			} else {
				ins[i].write(w, argument)
			}
		}
		results := make([]reflect.Value, len(outs))
		for i := range results {
			results[i] = reflect.New(t.Out(i)).Elem()
		}
		r := &reader{data: c.ask(number, w.buffer), call: c}
		size := r.array()
		bits, _ := r.integer()
		if bits != 0 {
			exception, _ := r.integer()
			failure := &callbackFailure{exception, r.text()}
			if !failing {
				panic(failure)
			}
			results[len(results)-1].Set(reflect.ValueOf(failure))
			return results
		}
		wanted := len(outs)
		if failing {
			wanted--
		}
		if size-1 != wanted {
			refuse("the callback gave %d results, not %d", size-1, wanted)
		}
		for i := 0; i < wanted; i++ {
			outs[i].read(r, results[i])
		}
		return results
	})
}

// ask calls back and returns the answer; calls that Python makes meanwhile are served in between.
func (c *call) ask(number uint64, payload []byte) []byte {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.over {
		panic(fmt.Errorf("a Python function was called after the call that brought it had returned"))
	}
	return c.slot.callBack(number, payload)
}
