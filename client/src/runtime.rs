//! What the client needs from its surroundings: time, threads, and somewhere to run what outlives a call.
//!
//! There are two of them, with the same items: tokio (`native.rs`), and a JavaScript host (`web.rs`), which is a browser, a worker in
//! it, or Node. Nothing else in this crate asks which one it is. Within the second, futures and callbacks hold objects of JavaScript,
//! which never leave their thread: what must be `Send + Sync` elsewhere need not be there, and implementations of this crate's
//! traits say `#[async_trait(?Send)]`.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use web::*;

/// `Send + Sync` where there are threads. In a JavaScript host, everything.
#[cfg(not(target_arch = "wasm32"))]
pub trait Shareable: Send + Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: ?Sized + Send + Sync> Shareable for T {}

/// `Send + Sync` where there are threads. In a JavaScript host, everything.
#[cfg(target_arch = "wasm32")]
pub trait Shareable {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> Shareable for T {}
