//! Runs the tests of a Rust program and reports them on descriptor 3. CQ stands for a prefix that only this build has.
#![allow(warnings)]
#[path = "SOLUTION"]
mod solution;

pub mod CQ_checks {
    use std::any::type_name;
    use std::fmt::Debug;
    use std::panic::{catch_unwind, set_hook, AssertUnwindSafe, Location};
    use std::sync::Mutex;

    // Made here: functions of the C library could be the program's.
    #[cfg(target_arch = "x86_64")]
    unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
        let result: isize;
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
        result
    }
    #[cfg(target_arch = "aarch64")]
    unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
        let result: isize;
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, options(nostack));
        result
    }
    #[cfg(target_arch = "x86_64")]
    const NUMBERS: [usize; 3] = [0, 1, 231];
    #[cfg(target_arch = "aarch64")]
    const NUMBERS: [usize; 3] = [63, 64, 94];

    unsafe fn read(to: *mut u8, size: usize) -> isize {
        call(NUMBERS[0], 3, to as usize, size)
    }
    unsafe fn write(from: *const u8, size: usize) -> isize {
        call(NUMBERS[1], 3, from as usize, size)
    }
    unsafe fn leave(status: usize) -> ! {
        loop {
            call(NUMBERS[2], status, 0, 0);
        }
    }

    const NONCE_CHARS: usize = 32;
    static mut NONCE: [u8; NONCE_CHARS + 1] = [0; NONCE_CHARS + 1];

    // Before every constructor of the program, so that it cannot read the nonce first.
    #[link_section = ".preinit_array"]
    #[used]
    static FIRST: extern "C" fn() = take_nonce;

    extern "C" fn take_nonce() {
        let mut size = 0;
        while size < NONCE_CHARS + 1 {
            let n = unsafe { read(std::ptr::addr_of_mut!(NONCE).cast::<u8>().add(size), NONCE_CHARS + 1 - size) };
            if n <= 0 {
                unsafe { leave(125) }
            }
            size += n as usize;
        }
    }

    fn quoted(text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars().take(1500) {
            match c {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                ' '..='~' => out.push(c),
                _ => {
                    let mut units = [0u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&std::format!("\\u{:04x}", unit));
                    }
                }
            }
        }
        out.push('"');
        out
    }

    fn send(event: &str, fields: &str) {
        let nonce = unsafe { (*std::ptr::addr_of!(NONCE))[..NONCE_CHARS].to_vec() };
        let line = std::format!("{{\"nonce\":\"{}\",\"event\":\"{}\"{}}}\n", String::from_utf8_lossy(&nonce), event, fields);
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let n = unsafe { write(rest.as_ptr(), rest.len()) };
            if n <= 0 {
                unsafe { leave(125) }
            }
            rest = &rest[n as usize..];
        }
    }

    static PANIC: Mutex<Option<(String, String, u32)>> = Mutex::new(None);
    /// What an assert of the tests said where nobody may have looked: in a thread, or in what caught it.
    static LOST: Mutex<Option<(String, String, u32)>> = Mutex::new(None);
    const CHECKED_LINES: &[u32] = &[CHECK_LINES];
    const JUDGES_PANICS: bool = JUDGES;
    const STARTS_THREADS: bool = THREADS;

    /// Tells whether a panic is that of a check: an assert of the tests, or what the program did when one asked it.
    fn is_check(text: &str, file: &str, line: u32) -> bool {
        if file.ends_with("tests.rs") {
            return text.starts_with("assertion") || CHECKED_LINES.contains(&line);
        }
        let stack = std::backtrace::Backtrace::force_capture().to_string();
        let frames: Vec<&str> = stack.lines().filter(|line| line.contains("::solution::")).collect();
        frames.last().map_or(false, |outer| outer.contains("::CQ_tests::"))
    }

    /// Waits a moment for threads that a test left; /proc shows them, where it can be read.
    fn settle() {
        for _ in 0..500 {
            match std::fs::read_dir("/proc/self/task").map(|tasks| tasks.count()) {
                Ok(n) if STARTS_THREADS && n > 1 => std::thread::sleep(std::time::Duration::from_millis(2)),
                _ => return,
            }
        }
    }

    /// What a test function may return.
    pub trait Outcome {
        fn failure(self) -> Option<String>;
    }
    impl Outcome for () {
        fn failure(self) -> Option<String> {
            None
        }
    }
    impl<T, E: Debug> Outcome for Result<T, E> {
        fn failure(self) -> Option<String> {
            self.err().map(|error| std::format!("the test returned Err({:?})", error))
        }
    }

    pub struct Test {
        pub id: &'static str,
        pub run: fn() -> Option<String>,
        pub should_panic: Option<&'static str>,
        pub ignored: bool,
    }

    fn run_one(test: &Test) -> bool {
        let id = quoted(test.id);
        if test.ignored {
            send("test", &std::format!(",\"id\":{id},\"outcome\":\"skipped\",\"type\":\"Ignored\",\"message\":\"marked #[ignore]\",\"by\":\"tests\""));
            return true;
        }
        *PANIC.lock().unwrap_or_else(|e| e.into_inner()) = None;
        *LOST.lock().unwrap_or_else(|e| e.into_inner()) = None;
        set_hook(Box::new(|info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default();
            let (file, line) = info.location().map_or((String::new(), 0), |l| (l.file().to_string(), l.line()));
            std::eprintln!("panicked at {file}:{line}: {text}");
            if !JUDGES_PANICS && is_check(&text, &file, line) {
                *LOST.lock().unwrap_or_else(|e| e.into_inner()) = Some((text.clone(), file.clone(), line));
            }
            *PANIC.lock().unwrap_or_else(|e| e.into_inner()) = Some((text, file, line));
        }));
        let result = catch_unwind(AssertUnwindSafe(test.run));
        if result.is_ok() {
            settle();
        }
        let lost = LOST.lock().unwrap_or_else(|e| e.into_inner()).take();
        let panic = PANIC.lock().unwrap_or_else(|e| e.into_inner()).take();
        let failure = match (result, test.should_panic) {
            (Ok(None), None) => lost.map(|(text, file, line)| {
                let place = if line > 0 { Some((file.ends_with("tests.rs"), line)) } else { None };
                ("AssertionError", text, place)
            }),
            (Ok(Some(text)), None) => Some(("AssertionError", text, None)),
            (Ok(_), Some(_)) => Some(("AssertionError", String::from("the test was expected to panic"), None)),
            (Err(_), Some(wanted)) => {
                let text = panic.map_or(String::new(), |p| p.0);
                let message = std::format!("panicked with {text:?}, which does not contain {wanted:?}");
                if text.contains(wanted) { None } else { Some(("AssertionError", message, None)) }
            }
            (Err(_), None) => {
                let (text, file, line) = panic.unwrap_or_default();
                let ours = file.ends_with("tests.rs");
                let kind = if text.starts_with("assert") { "AssertionError" } else { "Panic" };
                Some((kind, text, if line > 0 { Some((ours, line)) } else { None }))
            }
        };
        match failure {
            None => {
                send("test", &std::format!(",\"id\":{id},\"outcome\":\"passed\""));
                true
            }
            Some((kind, text, place)) => {
                let place = match place {
                    Some((true, line)) => std::format!(" (line {line})"),
                    Some((false, line)) => std::format!(" (line {line} of the program)"),
                    None => String::new(),
                };
                let message = quoted(&std::format!("{text}{place}"));
                send("test", &std::format!(",\"id\":{id},\"outcome\":\"failed\",\"type\":\"{kind}\",\"message\":{message}"));
                false
            }
        }
    }

    pub fn run_all(tests: &[Test]) -> ! {
        let mut bad = 0;
        for test in tests {
            if !run_one(test) {
                bad = 1;
            }
        }
        send("end", "");
        unsafe { leave(bad) }
    }

    fn of_program<T: ?Sized>() -> bool {
        type_name::<T>().contains("::solution::")
    }

    /// Panics if one side is of a type of the program's and the other is not: it may equal anything.
    #[track_caller]
    pub fn comparable<A: ?Sized, B: ?Sized>(_: &A, _: &B, text: &str) {
        if of_program::<A>() != of_program::<B>() {
            std::panic!("assertion `{text}`: a type of the program's is compared with another, which proves nothing");
        }
    }
}

fn main() {
    CQ_checks::run_all(&[
TESTS    ]);
}
