//go:build go1.22

package midflightruntime

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The descriptors that the Python program hands to its worker.
const (
	controlDescriptor = 3
	channelDescriptor = 4
	crashDescriptor   = 6
	hostDescriptor    = 7
)

const (
	channelVersion = 1
	headerSize     = 4096
	failureAt      = 2048
	failureSize    = 1024

	controlEnd    = 1
	controlCancel = 4 // of the call with this key; in place of a slot: 0, or that the call is over
	forgetKey     = 1
)

var channelMagic = []byte{0x00, 'M', 'F', 'C', 'H', 'A', 'N', '1'}

// A channel is the memory that is shared with the Python program.
type channel struct {
	memory    []byte
	slots     []*slot
	arenaSize uint64
}

// openChannel maps the memory and checks that what its header says lies inside of it.
func openChannel() (*channel, error) {
	var found syscall.Stat_t
	if err := syscall.Fstat(channelDescriptor, &found); err != nil {
		return nil, fmt.Errorf("this program is started by midflight: there is no shared memory (%w)", err)
	}
	if found.Size < headerSize {
		return nil, fmt.Errorf("the shared memory has only %d bytes", found.Size)
	}
	memory, err := syscall.Mmap(channelDescriptor, 0, int(found.Size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("the shared memory can't be mapped: %w", err)
	}
	c := &channel{memory: memory}
	long := func(at int) uint64 { return binary.LittleEndian.Uint64(memory[at:]) }
	short := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(memory[at:])) }
	if !bytes.Equal(memory[:8], channelMagic) || short(8) != channelVersion {
		return c, fmt.Errorf("the shared memory is of another version: %x", memory[:12])
	}
	count, slotsAt, stride, arenasAt := short(12), long(16), long(24), long(32)
	c.arenaSize = long(40)
	size := uint64(len(memory))
	inside := func(at, each, least uint64) bool {
		return at <= size && each >= least && each <= size && count <= (size-at)/max(each, 1)
	}
	if count == 0 || !inside(slotsAt, stride, 512) || !inside(arenasAt, c.arenaSize, 1) || slotsAt%8 != 0 || stride%8 != 0 {
		return c, fmt.Errorf("the header of the shared memory is damaged")
	}
	for i := uint64(0); i < count; i++ {
		page := memory[slotsAt+i*stride:][:stride:stride]
		c.slots = append(c.slots, &slot{channel: c, page: page, arena: arenasAt + i*c.arenaSize})
	}
	return c, nil
}

// tell says that the worker is ready, or why it won't be.
func (c *channel) tell(failure string) {
	state := uint32(1)
	if failure != "" {
		state = 2
		text := c.memory[failureAt : failureAt+failureSize]
		text[copy(text[:failureSize-1], failure)] = 0
	}
	ready := (*uint32)(unsafe.Pointer(&c.memory[56]))
	atomic.StoreUint32(ready, state)
	futex(ready, futexWake, 1<<30)
}

// What the package's own initialisation does wrong is to be told, too.
func init() { takeCrashOutput() }

// Main serves until the Python program ends it or is gone.  prepare makes ready what isn't ready by itself.
func Main(prepare func() error) {
	c, err := openChannel()
	if err == nil {
		keepDescriptors()
		// A Ctrl-C at the terminal is meant for the Python program, which then decides about its workers.
		signal.Ignore(syscall.SIGINT)
		if err = applyLimits(); err == nil {
			err = prepare()
		}
	}
	if err != nil {
		if c != nil {
			c.tell(err.Error())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	takeBaseline()
	for _, one := range c.slots {
		go one.serve()
	}
	c.tell("")
	c.control()
}

// keepDescriptors keeps ours from the programs that the package starts.
func keepDescriptors() {
	for _, descriptor := range []int{controlDescriptor, channelDescriptor, 5, crashDescriptor, hostDescriptor} {
		syscall.CloseOnExec(descriptor)
	}
}

type pollEntry struct {
	descriptor int32
	events     int16
	revents    int16
}

const pollIn = 1

// control waits for what the Python program has to say besides calls, and for its death.
func (c *channel) control() {
	entries := []pollEntry{{controlDescriptor, pollIn, 0}, {hostDescriptor, pollIn, 0}}
	message := make([]byte, 64)
	for {
		_, _, failed := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&entries[0])), 2, 0, 0, 0, 0)
		if failed == syscall.EINTR {
			continue
		}
		if failed != 0 || entries[1].revents&pollIn != 0 {
			os.Exit(0)
		}
		size, err := syscall.Read(controlDescriptor, message)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || size == 0 {
			os.Exit(0)
		}
		if size < 32 {
			continue
		}
		switch binary.LittleEndian.Uint32(message) {
		case controlEnd:
			os.Exit(0)
		case controlCancel:
			key := binary.LittleEndian.Uint64(message[8:])
			if binary.LittleEndian.Uint32(message[4:]) == forgetKey {
				forgetCall(key)
			} else {
				cancelCall(key)
			}
		}
	}
}
