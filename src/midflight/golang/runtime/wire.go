//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Extension types of the messages.  The Python side has the same numbers in lanes/go/wire.py.
const (
	extHandle   = 1 // a live value: u64 number, u32 number of its dynamic type
	extTyped    = 2 // data of a registered type: msgpack [number of the type, value]
	extText     = 3 // a string that isn't valid UTF-8: its bytes
	extError    = 4 // an error: msgpack [text, type, texts of what it wraps]
	extCallback = 5 // a Python callable: u64 number within the call
)

// maxDepth is how deep values may be nested: a cycle of pointers ends here too.
const maxDepth = 200

// A misfit is panicked with when a message can't be read or a value can't be written; see answerTo.
type misfit struct{ text string }

func refuse(format string, arguments ...any) {
	panic(misfit{fmt.Sprintf(format, arguments...)})
}

// A writer appends msgpack to a buffer.
type writer struct {
	buffer []byte
	depth  int
}

func (w *writer) enter() {
	w.depth++
	if w.depth > maxDepth {
		refuse("the value is nested more than %d deep, or contains itself", maxDepth)
	}
}

func (w *writer) leave() { w.depth-- }

func (w *writer) null() { w.buffer = append(w.buffer, 0xc0) }

func (w *writer) bool(value bool) {
	if value {
		w.buffer = append(w.buffer, 0xc3)
	} else {
		w.buffer = append(w.buffer, 0xc2)
	}
}

func (w *writer) int(value int64) {
	if value >= 0 {
		w.uint(uint64(value))
		return
	}
	switch {
	case value >= -32:
		w.buffer = append(w.buffer, byte(value))
	case value >= math.MinInt32:
		w.buffer = binary.BigEndian.AppendUint32(append(w.buffer, 0xd2), uint32(value))
	default:
		w.buffer = binary.BigEndian.AppendUint64(append(w.buffer, 0xd3), uint64(value))
	}
}

func (w *writer) uint(value uint64) {
	switch {
	case value < 128:
		w.buffer = append(w.buffer, byte(value))
	case value <= math.MaxUint32:
		w.buffer = binary.BigEndian.AppendUint32(append(w.buffer, 0xce), uint32(value))
	default:
		w.buffer = binary.BigEndian.AppendUint64(append(w.buffer, 0xcf), value)
	}
}

func (w *writer) float(value float64) {
	w.buffer = binary.BigEndian.AppendUint64(append(w.buffer, 0xcb), math.Float64bits(value))
}

func (w *writer) head(small byte, limit int, wide byte, size int) {
	if size > math.MaxUint32 {
		refuse("%d elements are more than a message can hold", size)
	}
	if size < limit {
		w.buffer = append(w.buffer, small|byte(size))
		return
	}
	w.buffer = binary.BigEndian.AppendUint32(append(w.buffer, wide), uint32(size))
}

func (w *writer) array(size int) { w.head(0x90, 16, 0xdd, size) }

func (w *writer) mapping(size int) { w.head(0x80, 16, 0xdf, size) }

func (w *writer) text(value string) {
	if !utf8.ValidString(value) {
		w.extension(extText, []byte(value))
		return
	}
	w.head(0xa0, 32, 0xdb, len(value))
	w.buffer = append(w.buffer, value...)
}

func (w *writer) bytes(value []byte) {
	if len(value) > math.MaxUint32 {
		refuse("%d bytes are more than a message can hold", len(value))
	}
	w.buffer = binary.BigEndian.AppendUint32(append(w.buffer, 0xc6), uint32(len(value)))
	w.buffer = append(w.buffer, value...)
}

func (w *writer) extension(code byte, value []byte) {
	w.buffer = binary.BigEndian.AppendUint32(append(w.buffer, 0xc9), uint32(len(value)))
	w.buffer = append(append(w.buffer, code), value...)
}

// nested writes an extension whose content is msgpack itself.
func (w *writer) nested(code byte, fill func()) {
	start := len(w.buffer)
	w.buffer = append(w.buffer, 0xc9, 0, 0, 0, 0, code)
	fill()
	binary.BigEndian.PutUint32(w.buffer[start+1:], uint32(len(w.buffer)-start-6))
}

// A reader reads msgpack.  Whatever is in the data, it reads within them or panics with a misfit.
type reader struct {
	data  []byte
	at    int
	depth int
	call  *call
}

func (r *reader) enter() {
	r.depth++
	if r.depth > maxDepth {
		refuse("the value is nested more than %d deep", maxDepth)
	}
}

func (r *reader) leave() { r.depth-- }

func (r *reader) take(size int) []byte {
	if size < 0 || size > len(r.data)-r.at {
		refuse("the message is cut off")
	}
	part := r.data[r.at : r.at+size]
	r.at += size
	return part
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) peek() byte {
	if r.at >= len(r.data) {
		refuse("the message is cut off")
	}
	return r.data[r.at]
}

// unsigned reads a big-endian number of 1, 2, 4 or 8 bytes.
func (r *reader) unsigned(size int) uint64 {
	var value uint64
	for _, one := range r.take(size) {
		value = value<<8 | uint64(one)
	}
	return value
}

func (r *reader) null() bool {
	if r.peek() == 0xc0 {
		r.at++
		return true
	}
	return false
}

func (r *reader) bool() bool {
	switch code := r.byte(); code {
	case 0xc2, 0xc3:
		return code == 0xc3
	default:
		refuse("a bool was expected, not %s", nameOf(code))
		return false
	}
}

// integer reads any integer: its 64 bits, and whether it is negative.
func (r *reader) integer() (bits uint64, negative bool) {
	code := r.byte()
	switch {
	case code < 0x80:
		return uint64(code), false
	case code >= 0xe0:
		return uint64(int64(int8(code))), true
	case code >= 0xcc && code <= 0xcf:
		return r.unsigned(1 << (code - 0xcc)), false
	case code >= 0xd0 && code <= 0xd3:
		size := 1 << (code - 0xd0)
		shift := 64 - 8*size
		value := int64(r.unsigned(size)<<shift) >> shift
		return uint64(value), value < 0
	}
	refuse("an integer was expected, not %s", nameOf(code))
	return 0, false
}

func (r *reader) float() float64 {
	switch r.peek() {
	case 0xca:
		r.at++
		return float64(math.Float32frombits(uint32(r.unsigned(4))))
	case 0xcb:
		r.at++
		return math.Float64frombits(r.unsigned(8))
	}
	bits, negative := r.integer()
	if negative {
		return float64(int64(bits))
	}
	return float64(bits)
}

// size reads the head of an array or a map; every element takes at least one byte.
func (r *reader) size(small, narrow, wide byte, what string) int {
	code := r.byte()
	var size uint64
	switch {
	case code&0xf0 == small:
		size = uint64(code & 0x0f)
	case code == narrow:
		size = r.unsigned(2)
	case code == wide:
		size = r.unsigned(4)
	default:
		refuse("%s was expected, not %s", what, nameOf(code))
	}
	if size > uint64(len(r.data)-r.at) {
		refuse("the message is cut off")
	}
	return int(size)
}

func (r *reader) array() int { return r.size(0x90, 0xdc, 0xdd, "an array") }

func (r *reader) mapping() int { return r.size(0x80, 0xde, 0xdf, "a map") }

func (r *reader) text() string {
	code := r.peek()
	switch {
	case code&0xe0 == 0xa0:
		r.at++
		return string(r.take(int(code & 0x1f)))
	case code >= 0xd9 && code <= 0xdb:
		r.at++
		return string(r.take(int(r.unsigned(1 << (code - 0xd9)))))
	}
	if kind, data, ok := r.extension(); ok && kind == extText {
		return string(data)
	}
	refuse("a string was expected, not %s", nameOf(code))
	return ""
}

func (r *reader) bytes() []byte {
	code := r.byte()
	if code < 0xc4 || code > 0xc6 {
		refuse("bytes were expected, not %s", nameOf(code))
	}
	return append([]byte{}, r.take(int(r.unsigned(1<<(code-0xc4))))...)
}

// extension reads an extension if one comes next.
func (r *reader) extension() (kind byte, data []byte, ok bool) {
	code := r.peek()
	var size int
	switch {
	case code >= 0xd4 && code <= 0xd8:
		r.at++
		size = 1 << (code - 0xd4)
	case code >= 0xc7 && code <= 0xc9:
		r.at++
		size = int(r.unsigned(1 << (code - 0xc7)))
	default:
		return 0, nil, false
	}
	kind = r.byte()
	return kind, r.take(size), true
}

func nameOf(code byte) string {
	switch {
	case code == 0xc0:
		return "nil"
	case code == 0xc2 || code == 0xc3:
		return "a bool"
	case code < 0x80 || code >= 0xe0 || code >= 0xcc && code <= 0xd3:
		return "an integer"
	case code == 0xca || code == 0xcb:
		return "a float"
	case code&0xe0 == 0xa0 || code >= 0xd9 && code <= 0xdb:
		return "a string"
	case code >= 0xc4 && code <= 0xc6:
		return "bytes"
	case code&0xf0 == 0x90 || code == 0xdc || code == 0xdd:
		return "an array"
	case code&0xf0 == 0x80 || code == 0xde || code == 0xdf:
		return "a map"
	}
	return "something else"
}
