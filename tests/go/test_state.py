"""Data that get lost at a swap or a crash, or are taken along where they shouldn't be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import midflight
from midflight import SwapError, WorkerCrashedError

if TYPE_CHECKING:
    from tests.go.conftest import Packages


def swap(go: Packages, module: Any, text: str, **options: Any) -> midflight.Report:
    """Put other source in place, and swap."""
    go.write("greet.go", text)
    return midflight.swap(module, **options)


SHOP = """
import ("math/big"; "sync"; "time")
type Item struct { Name string; price int }
type Shape interface { Area() float64 }
type Square struct{ Side float64 }
func (s Square) Area() float64 { return s.Side * s.Side }
type store struct {
	mu sync.Mutex
	items map[string]*Item
	first *Item
	opened time.Time
	huge *big.Int
	shapes []Shape
	ring *node
}
type node struct { value int; next *node }

//midflight:state
var shop = &store{items: map[string]*Item{}}

var Orders []string
var Rates = map[string]int{"vat": VAT}

func Fill() {
	shop.mu.Lock(); defer shop.mu.Unlock()
	it := &Item{"ball", 5}
	shop.items["ball"], shop.first = it, it
	shop.opened = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	shop.huge, _ = new(big.Int).SetString("123456789012345678901234567890", 10)
	shop.shapes = []Shape{Square{2}, &Square{3}}
	shop.ring = &node{1, nil}; shop.ring.next = &node{2, shop.ring}
	Orders = append(Orders, "one", "two")
}
func Raise() { shop.first.price++ }
func Price() int { shop.mu.Lock(); defer shop.mu.Unlock(); return shop.items["ball"].price }
func Opened() string { return shop.opened.Format(time.RFC3339Nano) }
func Huge() string { return shop.huge.String() }
func Areas() (sum float64) { for _, s := range shop.shapes { sum += s.Area() }; return }
func Ring() int { return shop.ring.next.next.next.value }
func Version() string { return "VERSION" }
"""


def shop(version: int, vat: int = 19, more: str = "") -> str:
    """The shop's source."""
    return SHOP.replace("VERSION", str(version)).replace("VAT", str(vat)) + more


def test_everything_that_a_variable_leads_to_is_carried(go: Packages):
    module = go.make(shop(1))
    module.Fill()
    report = swap(go, module, shop(2))
    assert (module.Version(), report.warnings) == ("2", ())
    module.Raise()
    assert module.Price() == 6  # what was shared still is
    assert module.Orders == ["one", "two"]
    assert module.Opened() == "2026-01-02T03:04:05.000000006Z"
    assert module.Huge() == "123456789012345678901234567890"
    assert module.Areas() == 13.0
    assert module.Ring() == 2


def test_a_variable_that_nobody_changed_takes_the_new_initial_value(go: Packages):
    module = go.make(shop(1, vat=19))
    swap(go, module, shop(2, vat=7))
    assert module.Rates == {"vat": 7}
    midflight.variables(module)["Rates"] = {"vat": 8}
    swap(go, module, shop(3, vat=9))
    assert module.Rates == {"vat": 8}


def test_fields_come_and_go_by_name(go: Packages):
    text = "type P struct { FIELDS }\nvar All = map[string]P{}\nfunc Get(n string) P { return All[n] }"
    module = go.make(text.replace("FIELDS", "A int8; B string"))
    midflight.variables(module)["All"] = {"x": {"A": 5, "B": "gone"}}
    report = swap(go, module, text.replace("FIELDS", "New []int; A int64"), compat="any")
    assert (module.Get("x").A, module.Get("x").New) == (5, [])
    assert report.warnings == ("All[…].B was left behind: version 2 doesn't have it",)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("var X int = 0\nfunc Set() { X = 300 }", "var X int8", "X is a int8 now: 300 doesn't fit int8"),
        ('var X string\nfunc Set() { X = "a" }', "var X int", "X is a int now: an integer was expected, not a string"),
        (
            "var X any\ntype T struct{}\nfunc Set() { X = T{} }",
            "var X any",
            "X held a T, which this version hasn't got",
        ),
        (
            "var X = map[string]func(){}\ntype h struct{ f func() }\nvar Y h\nfunc Set() { Y.f = Set }",
            "",
            r"Y\.f is a func",
        ),
    ],
)
def test_what_cannot_be_carried_is_a_refusal_that_names_it(go: Packages, before: str, after: str, what: str):
    module = go.make(before)
    module.Set()
    with pytest.raises(SwapError, match=what) as raised:
        swap(go, module, f"{after}\nfunc Set() {{}}", compat="any")
    assert "version 1 of greet goes on running" in str(raised.value)
    module.Set()


def test_what_cannot_be_carried_but_was_never_assigned_to_starts_anew(go: Packages):
    text = """
    import ("log"; "os")
    var Logger = log.New(os.Stderr, "VERSION", 0)
    func Prefix() string { return Logger.Prefix() }
    """
    module = go.make(text.replace("VERSION", "1"))
    report = swap(go, module, text.replace("VERSION", "2"))
    assert module.Prefix() == "2"
    assert len(report.warnings) == 1
    assert "Logger isn't carried, and starts as the source says" in report.warnings[0]


def test_hooks_take_the_place_of_carrying(go: Packages):
    text = """
    import "errors"
    var Count int
    func Up() int { Count++; return Count }
    func MidflightSave() ([]byte, error) {
        if Count == 13 { return nil, errors.New("unlucky") }
        return []byte{byte(Count)}, nil
    }
    func MidflightRestore(data []byte) error { Count = int(data[0]) * 10; return nil }
    // VERSION
    var V = VERSION
    """
    module = go.make(text.replace("VERSION", "1"))
    assert not hasattr(module, "MidflightSave")
    module.Up()
    swap(go, module, text.replace("VERSION", "2"))
    assert module.Up() == 11
    midflight.variables(module)["Count"] = 13
    with pytest.raises(SwapError, match="MidflightSave says: unlucky"):
        swap(go, module, text.replace("VERSION", "3"))
    assert module.Up() == 14


def test_hooks_with_data_of_their_own(go: Packages):
    text = """
    type saved struct { Count int; when string }
    var count int
    func Up() int { count++; return count }
    func MidflightSave() saved { return saved{count, "now"} }
    func MidflightRestore(s saved) { count = s.Count + len(s.when) }
    var V = VERSION
    """
    module = go.make(text.replace("VERSION", "1"))
    module.Up()
    swap(go, module, text.replace("VERSION", "2"))
    assert module.Up() == 5


def test_no_count_is_lost_between_saving_and_the_switch(go: Packages):
    text = "var Count int\nfunc Up() int { Count++; return Count }\nvar V = VERSION"
    module = go.make(text.replace("VERSION", "0"))
    stop, calls = threading.Event(), 0

    def work() -> None:
        nonlocal calls
        while not stop.is_set():
            module.Up()
            calls += 1

    thread = threading.Thread(target=work)
    thread.start()
    for number in range(1, 6):
        swap(go, module, text.replace("VERSION", str(number)))
    stop.set()
    thread.join()
    assert module.Count == calls


def test_a_call_that_does_not_end_refuses_the_swap_and_others_go_on(go: Packages, monkeypatch: pytest.MonkeyPatch):
    from midflight.lanes.go import state

    monkeypatch.setattr(state, "PATIENCE", 0.05)
    text = """
    var Count int
    func Hold(f func()) { f() }
    var V = VERSION
    """
    module = go.make(text.replace("VERSION", "1"))
    raised = []

    def inside() -> None:
        with pytest.raises(SwapError, match="calls have been under way") as error:
            swap(go, module, text.replace("VERSION", "2"))
        raised.append(error)

    module.Hold(inside)
    assert raised
    assert module.V == 1


SAVED = "var Count int\nfunc Up() int { Count++; return Count }\nfunc Die() { go func() { panic(1) }(); select {} }"


def test_a_fresh_worker_has_the_state_of_the_last_save(go: Packages):
    module = go.make(SAVED, save_calls=3)
    for _ in range(7):
        module.Up()
    with pytest.raises(WorkerCrashedError):
        module.Die()
    assert module.Up() == 7  # six were saved


def test_without_saving_it_starts_anew(go: Packages):
    module = go.make(SAVED)
    module.Up()
    with pytest.raises(WorkerCrashedError):
        module.Die()
    assert module.Up() == 1


def test_the_clock_saves_too(go: Packages):
    module = go.make(SAVED, save_every=0.02)
    module.Up()
    saver = midflight._control.control_of(module).current.code.saver
    tick = threading.Event()
    while not saver._saved or b"Count" not in saver._saved[0]:
        tick.wait(0.005)
    with pytest.raises(WorkerCrashedError):
        module.Die()
    assert module.Up() == 2


def test_the_report_says_how_long_calls_were_held_back(go: Packages):
    module = go.make("var Count int\nfunc Next() int { Count++; return Count } // 1")
    assert module.Next() == 1
    go.write("greet.go", "var Count int\nfunc Next() int { Count++; return Count } // 2\nvar More int")
    report = midflight.swap(module)
    assert 0 < report.pause < report.seconds
    assert module.Next() == 2
    plain = go.make("func One() int { return 1 }", name="plain.go")
    go.write("plain.go", "func One() int { return 2 }")
    assert midflight.swap(plain).pause == 0
