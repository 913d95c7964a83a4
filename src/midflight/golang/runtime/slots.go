//go:build go1.22

package midflightruntime

import (
	"encoding/binary"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	futexWait = 0
	futexWake = 1

	kindMessage  = 2
	kindAnswer   = 3
	kindDone     = 16
	kindCallback = 18

	ours = 1

	spinShortest = 500 * time.Nanosecond
	spinLongest  = 50 * time.Microsecond
	// A call that comes so soon would have been met by spinning: falling asleep and waking take most of this time.
	soon = 200 * time.Microsecond
)

// A slot is a place in the shared memory through which one call at a time travels, like a ball: whoever has the turn may
// read and write it.  Its layout is that of native/channel.h.
type slot struct {
	channel *channel
	page    []byte
	arena   uint64 // where the slot's own arena begins in the mapping
	spin    time.Duration
	answers writer
}

func (s *slot) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&s.page[at])) }

func (s *slot) turn() *uint32 { return s.word(0) }

func (s *slot) number(at int) uint64 { return binary.LittleEndian.Uint64(s.page[at:]) }

// begin says that a call has been taken: from now on it can't be repeated in another process.
func (s *slot) begin() *call {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&s.page[168])), s.number(160))
	return &call{slot: s}
}

func (s *slot) put(at int, value uint64) { binary.LittleEndian.PutUint64(s.page[at:], value) }

// serve serves calls for ever.
func (s *slot) serve() {
	s.spin = spinLongest
	for {
		s.await()
		if *s.word(128) != kindMessage {
			s.answer(kindDone, refusal("only messages are served here"))
			continue
		}
		c := s.begin()
		w := &s.answers
		w.buffer, w.depth = w.buffer[:0], 0
		c.answerTo(w, s.number(136), s.payload())
		c.mutex.Lock()
		c.over = true
		c.mutex.Unlock()
		s.answer(kindDone, w.buffer)
		if cap(w.buffer) > 1<<20 {
			w.buffer = nil // one large answer shouldn't be paid for for ever
		}
	}
}

// callBack asks Python for something and serves the calls that it makes before it answers.
func (s *slot) callBack(number uint64, payload []byte) []byte {
	s.put(136, number)
	s.answer(kindCallback, payload)
	for {
		s.await()
		switch *s.word(128) {
		case kindAnswer:
			return append([]byte{}, s.payload()...)
		case kindMessage:
			inner := s.begin()
			w := &writer{}
			inner.answerTo(w, s.number(136), s.payload())
			inner.mutex.Lock()
			inner.over = true
			inner.mutex.Unlock()
			s.answer(kindDone, w.buffer)
		default:
			s.answer(kindDone, refusal("only messages are served here"))
		}
	}
}

// payload returns the message that came, wherever the host put it, or nothing if it lies outside of the memory.
func (s *slot) payload() []byte {
	length, at := s.number(144), s.number(152)
	size := uint64(len(s.channel.memory))
	if at > size || length > size-at {
		return nil
	}
	return s.channel.memory[at : at+length]
}

// answer puts a message at the start of the arena and passes the ball.
func (s *slot) answer(kind uint32, data []byte) {
	if uint64(len(data)) > s.channel.arenaSize {
		data = refusal("the result doesn't fit the memory that is shared for a call")
		kind = kindDone
	}
	copy(s.channel.memory[s.arena:], data)
	*s.word(128) = kind
	s.put(144, uint64(len(data)))
	s.put(152, s.arena)
	atomic.StoreUint32(s.turn(), 0)
	if atomic.LoadUint32(s.word(64)) != 0 {
		futex(s.turn(), futexWake, 1)
	}
}

func refusal(text string) []byte {
	w := &writer{}
	w.array(2)
	w.uint(answerMisfit)
	w.text(text)
	return w.buffer
}

// await waits for the ball: for a moment by looking, which costs a processor, then asleep, which costs nothing.  How
// long it looks is learned from how long it paid lately.
func (s *slot) await() {
	turn := s.turn()
	if atomic.LoadUint32(turn) == ours {
		return
	}
	start := time.Now()
	for {
		for i := 0; i < 64; i++ {
			if atomic.LoadUint32(turn) == ours {
				return
			}
		}
		if time.Since(start) > s.spin {
			break
		}
	}
	sleeps := s.word(68)
	for {
		atomic.StoreUint32(sleeps, 1)
		if atomic.LoadUint32(turn) == ours {
			break
		}
		futex(turn, futexWait, 0)
	}
	atomic.StoreUint32(sleeps, 0)
	if time.Since(start) < soon {
		s.spin = spinLongest
	} else {
		s.spin = max(s.spin/2, spinShortest)
	}
}

func futex(word *uint32, operation, value uintptr) {
	_, _, _ = syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), operation, value, 0, 0, 0)
}
