//! The functions that other languages call. `include/strongroom.h` declares the same, and says what each promises.
//!
//! Texts are UTF-8 with a NUL at the end; bytes have a length beside them, and may be null if that is 0. Each function takes
//! null for any of its pointers, and then does nothing. Calls and clients may be used from several threads at once; to free
//! something while another thread uses it is forbidden, as is freeing twice.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::ptr;
use std::slice;
use std::time::Duration;
use strongroom_client::{Pin, PinHelp, Zeroizing};

pub use crate::call::Call;
pub use crate::client::Client;
pub use crate::reply::Reply;

/// Raised whenever something here changes in a way that a caller would notice.
const VERSION: u32 = 2;

/// What `text` holds, without its NUL.
///
/// # Safety
/// It is null, or a NUL follows within what may be read, and nobody writes there during `'a`.
const unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: as promised above.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// The bytes at `data`.
///
/// # Safety
/// It is null, or `length` bytes may be read there, and nobody writes there during `'a`.
const unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if data.is_null() || length > isize::MAX.unsigned_abs() {
        return &[];
    }
    // SAFETY: as promised above; the length fits.
    unsafe { slice::from_raw_parts(data, length) }
}

/// Frees what one of our functions gave out.
///
/// # Safety
/// It is null, or came from `Box::into_raw`, and nobody uses it now or later.
unsafe fn free<T>(given: *mut T) {
    if !given.is_null() {
        // SAFETY: as promised above.
        drop(unsafe { Box::from_raw(given) });
    }
}

/// A client, or why there is none.
#[derive(Debug)]
pub struct Made(Result<Client, Reply>);

/// The version of these functions. A caller that was written for another one must not go on.
#[unsafe(no_mangle)]
pub extern "C" fn strongroom_abi_version() -> u32 {
    VERSION
}

/// Makes a client of options in JSON. Never null; whether it may be used, [`strongroom_client_refusal`] says.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_client_new(options: *const c_char) -> *mut Made {
    // SAFETY: the caller promises it.
    let options = unsafe { text(options) };
    Box::into_raw(Box::new(Made(Client::new(options))))
}

/// JSON that says why a client cannot be used; null if it can. It lives as long as the client.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_client_refusal(client: *const Made) -> *const c_char {
    // SAFETY: the caller promises it.
    match unsafe { client.as_ref() } {
        Some(Made(Err(refusal))) => refusal.text().as_ptr(),
        _ => ptr::null(),
    }
}

/// Frees a client. Its calls go on until they are freed; what it had left under way ends.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_client_free(client: *mut Made) {
    // SAFETY: the caller promises it.
    unsafe { free(client) }
}

/// Begins an operation. Copies what it is given. Null if the client is null or refused.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_call_begin(
    client: *const Made,
    request: *const c_char,
    pin: *const u8,
    pin_length: usize,
    secret: *const u8,
    secret_length: usize,
) -> *mut Call {
    // SAFETY: the caller promises it.
    let (made, request, pin, secret) =
        unsafe { (client.as_ref(), text(request), bytes(pin, pin_length), bytes(secret, secret_length)) };
    let Some(Made(Ok(client))) = made else { return ptr::null_mut() };
    Box::into_raw(Box::new(Call::begin(client, request, Pin::new(pin.to_vec()), secret)))
}

/// Waits for what comes next; null if nothing comes within `timeout_ms`. The reply is the caller's, who frees it.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_call_next(call: *const Call, timeout_ms: u32) -> *mut Reply {
    // SAFETY: the caller promises it.
    let next = unsafe { call.as_ref() }.and_then(|call| call.next(Duration::from_millis(timeout_ms.into())));
    next.map_or(ptr::null_mut(), |reply| Box::into_raw(Box::new(reply)))
}

/// Answers a request for a token, which has to be done for each. Null: there is none.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_call_give_token(
    call: *const Call,
    number: u64,
    token: *const u8,
    length: usize,
) {
    // SAFETY: the caller promises it.
    let (call, given) = unsafe { (call.as_ref(), bytes(token, length)) };
    let given = (!token.is_null()).then_some(given).and_then(|token| str::from_utf8(token).ok());
    if let Some(call) = call {
        call.give_token(number, given.map(|token| Zeroizing::new(token.to_owned())));
    }
}

/// Gives an operation up: its end comes next. What it had sent may still happen.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_call_cancel(call: *const Call) {
    // SAFETY: the caller promises it.
    if let Some(call) = unsafe { call.as_ref() } {
        call.cancel();
    }
}

/// Frees a call. One that has not ended is cancelled.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_call_free(call: *mut Call) {
    // SAFETY: the caller promises it.
    unsafe { free(call) }
}

/// Looks at a PIN that a user typed: says what can be said of it, with the PIN to use beside it. Never null; needs no client.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_pin_help(typed: *const u8, length: usize) -> *mut Reply {
    // SAFETY: the caller promises it.
    let reply = match str::from_utf8(unsafe { bytes(typed, length) }) {
        Ok(typed) => Reply::pin_help(PinHelp::of(typed)),
        Err(_) => Reply::refused("what was typed is not UTF-8: bytes that are no text need no help"),
    };
    Box::into_raw(Box::new(reply))
}

/// What a reply says, in JSON. It lives as long as the reply.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_reply_text(reply: *const Reply) -> *const c_char {
    // SAFETY: the caller promises it.
    unsafe { reply.as_ref() }.map_or(ptr::null(), |reply| reply.text().as_ptr())
}

/// The bytes of a secret or a PIN, which live as long as the reply; null if it brings none.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_reply_secret(reply: *const Reply) -> *const u8 {
    // SAFETY: the caller promises it.
    unsafe { reply.as_ref() }.and_then(Reply::secret_bytes).map_or(ptr::null(), <[u8]>::as_ptr)
}

/// How many bytes that has.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_reply_secret_length(reply: *const Reply) -> usize {
    // SAFETY: the caller promises it.
    unsafe { reply.as_ref() }.and_then(Reply::secret_bytes).map_or(0, <[u8]>::len)
}

/// Frees a reply, and wipes what it brings.
///
/// # Safety
/// See the head of this module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_reply_free(reply: *mut Reply) {
    // SAFETY: the caller promises it.
    unsafe { free(reply) }
}
