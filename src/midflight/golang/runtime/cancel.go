//go:build go1.22

package midflightruntime

import (
	"context"
	"sync"
	"time"
)

// The calls that Python may cancel, by keys that it chooses.  The news of a cancellation goes another way than the calls,
// so it may come before its call does: the key then stands for itself until Python says that it can be forgotten.
var cancellable = struct {
	sync.Mutex
	calls map[uint64]context.CancelFunc // nil: cancelled already
}{calls: map[uint64]context.CancelFunc{}}

func cancelCall(key uint64) {
	cancellable.Lock()
	defer cancellable.Unlock()
	if cancel := cancellable.calls[key]; cancel != nil {
		cancel()
	}
	cancellable.calls[key] = nil
}

// forgetCall takes note that a call is over of which Python has said that it is cancelled.
func forgetCall(key uint64) {
	cancellable.Lock()
	defer cancellable.Unlock()
	delete(cancellable.calls, key)
}

// readContext reads what a call says of its context: [seconds or nil], and [key, true: cancelled already, or nil].
func readContext(r *reader) (context.Context, context.CancelFunc) {
	made, cancel := context.WithCancel(context.Background())
	if !r.null() {
		seconds := time.Duration(min(r.float(), 1e9) * float64(time.Second))
		cancel()
		made, cancel = context.WithTimeout(context.Background(), seconds)
	}
	if r.null() {
		return made, cancel
	}
	if r.peek()&0xfe == 0xc2 {
		if r.bool() {
			cancel()
		}
		return made, cancel
	}
	key, _ := r.integer()
	cancellable.Lock()
	defer cancellable.Unlock()
	if _, already := cancellable.calls[key]; already {
		cancel()
		return made, cancel
	}
	cancellable.calls[key] = cancel
	return made, func() { endCall(key, cancel) }
}

// endCall lets go of a context; that Python has cancelled it is remembered until Python says otherwise.
func endCall(key uint64, cancel context.CancelFunc) {
	cancel()
	cancellable.Lock()
	defer cancellable.Unlock()
	if cancellable.calls[key] != nil {
		delete(cancellable.calls, key)
	}
}
