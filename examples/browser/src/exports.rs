//! The functions that the worker calls.
//!
//! ```text
//! tfod_request(length) ─▶ address: the worker writes a model's file, or a picture's pixels, there
//! tfod_open(), tfod_detect(height, width) take the request
//! tfod_answer(), tfod_answer_length(): JSON, either what was asked for or {"error": "…"}
//! ```
//!
//! A panic becomes a trap, which the worker catches. The answer then says what panicked, if anything does, and the instance has to be thrown away.

#![expect(
    unsafe_code,
    reason = "a function that is exported by its name needs an attribute that is unsafe; no memory is touched but through references"
)]

use std::cell::RefCell;
use std::sync::Once;

use serde::Serialize;
use serde_json::json;

use crate::detector::Detector;

#[derive(Default)]
struct State {
    request: Vec<u8>,
    answer: Vec<u8>,
    detector: Option<Detector>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Makes room for a request, whose address is returned; null if there is no memory for it.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn tfod_request(length: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        // The room of the last one goes first.
        state.request = Vec::new();
        state.answer = Vec::new();
        if state.request.try_reserve_exact(length).is_err() {
            return std::ptr::null_mut();
        }
        state.request.resize(length, 0);
        state.request.as_mut_ptr()
    })
}

/// Where the answer begins.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn tfod_answer() -> *const u8 {
    STATE.with_borrow(|state| state.answer.as_ptr())
}

/// How many bytes the answer has.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn tfod_answer_length() -> usize {
    STATE.with_borrow(|state| state.answer.len())
}

/// Reads the model whose file is the request; the answer tells what it takes and which classes it knows.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn tfod_open() {
    say_what_panics();
    let file = STATE.with_borrow_mut(|state| {
        state.detector = None;
        std::mem::take(&mut state.request)
    });
    let opened = Detector::open(&file);
    let answer = said(opened.as_ref().map(Detector::describe));
    STATE.with_borrow_mut(|state| {
        state.answer = answer;
        state.detector = opened.ok();
    });
}

/// Runs the model on the picture whose pixels (red, green, blue, alpha, row by row) are the request; the answer has the detections.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn tfod_detect(height: usize, width: usize) {
    let (detector, pixels) =
        STATE.with_borrow_mut(|state| (state.detector.take(), std::mem::take(&mut state.request)));
    let found = match &detector {
        Some(detector) => detector.detect(height, width, &pixels),
        None => Err("no model was read".to_owned()),
    };
    let answer = said(
        found
            .as_ref()
            .map(|detections| json!({"detections": detections})),
    );
    STATE.with_borrow_mut(|state| {
        state.answer = answer;
        state.detector = detector;
    });
}

fn said(result: Result<impl Serialize, &String>) -> Vec<u8> {
    let text = match result {
        Ok(value) => serde_json::to_vec(&value),
        Err(problem) => serde_json::to_vec(&json!({"error": problem})),
    };
    text.unwrap_or_else(|error| json!({"error": error.to_string()}).to_string().into_bytes())
}

/// Makes what a panic says the answer.
fn say_what_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let problem = format!("the runtime panicked: {panic}");
            STATE.with(|state| {
                if let Ok(mut state) = state.try_borrow_mut() {
                    state.answer = said(Err::<(), _>(&problem));
                }
            });
        }));
    });
}
