//! What a Rust library commonly has: formatting, vectors, a mutex, panics, a C interface.
use std::sync::Mutex;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Point {
    x: i32,
    y: i32,
}

#[repr(u8)]
pub enum Kind {
    Short = 1,
    Long = 9,
}

static HISTORY: Mutex<Vec<i32>> = Mutex::new(Vec::new());
#[no_mangle]
pub static mut LEVEL: i64 = 5;

#[no_mangle]
pub extern "C" fn add(a: i32, b: i32) -> i32 {
    let mut history = HISTORY.lock().unwrap();
    history.push(a.wrapping_add(b));
    history.iter().sum()
}

#[no_mangle]
pub extern "C" fn length(n: i32, kind: Kind) -> usize {
    match kind {
        Kind::Short => format!("{n}").len(),
        Kind::Long => format!("{n:>80}").len(),
    }
}

#[no_mangle]
pub extern "C" fn mirror(point: &Point) -> Point {
    Point { x: point.y, y: point.x }
}
