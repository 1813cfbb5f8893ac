//! What the client needs of the place where it runs, and gets from `js/`: tokens, `fetch`, a worker.

use std::future::Future;

use async_trait::async_trait;
use js_sys::{Array, Promise, Uint8Array};
use strongroom_client::{
    AuthTokens, HttpResponse, InputTooLong, NetworkError, NoToken, RealmId, StretchedPin, Stretcher,
    Stretching, Transport, Url, Zeroizing,
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::convert::hashing_mode_name;

#[wasm_bindgen]
extern "C" {
    /// What `js/host.js` makes. Each promise ends soon after its signal is aborted, one way or the other.
    #[derive(Clone)]
    pub type Host;

    /// A token for this realm, as text; anything else, or a rejection, if there is none.
    #[wasm_bindgen(method)]
    fn token(this: &Host, realm: &str, signal: &JsValue) -> Promise;

    /// Sends a request with `POST`. `headers` are pairs of texts. Rejected, with a text, if there is no answer.
    #[wasm_bindgen(method)]
    fn post(this: &Host, url: &str, headers: Array, body: Uint8Array, signal: &JsValue) -> Promise;

    /// The same with `GET` and without a body; reads at most `most` bytes of the answer.
    #[wasm_bindgen(method)]
    fn get(this: &Host, url: &str, headers: Array, most: u32, signal: &JsValue) -> Promise;

    /// Calls [`crate::stretch`] in a worker. Rejected if there is none.
    #[wasm_bindgen(method)]
    fn stretch(
        this: &Host,
        mode: &str,
        pin: Uint8Array,
        version: Uint8Array,
        user_info: Uint8Array,
        signal: &JsValue,
    ) -> Promise;

    /// A step begins.
    #[wasm_bindgen(method)]
    pub fn progress(this: &Host, step: &str);

    /// What `post` and `get` resolve to.
    type Answer;

    #[wasm_bindgen(method, getter)]
    fn status(this: &Answer) -> u16;

    #[wasm_bindgen(method, getter)]
    fn body(this: &Answer) -> Uint8Array;

    type AbortController;

    #[wasm_bindgen(constructor)]
    fn new() -> AbortController;

    #[wasm_bindgen(method, getter)]
    fn signal(this: &AbortController) -> JsValue;

    #[wasm_bindgen(method)]
    fn abort(this: &AbortController);
}

/// Tells the host that nobody waits any more, if this is dropped before `ended`.
struct Waiting {
    controller: AbortController,
    ended: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.ended {
            self.controller.abort();
        }
    }
}

/// What the host says when it is asked for this; it is told if nobody waits for it any more.
async fn asked(ask: impl FnOnce(&JsValue) -> Promise) -> Result<JsValue, JsValue> {
    let mut waiting = Waiting { controller: AbortController::new(), ended: false };
    let said = JsFuture::from(ask(&waiting.controller.signal())).await;
    waiting.ended = true;
    said
}

#[async_trait(?Send)]
impl AuthTokens for Host {
    async fn token(&self, realm: &RealmId) -> Result<Zeroizing<String>, NoToken> {
        let realm = realm.to_string();
        let said = asked(|signal| Host::token(self, &realm, signal)).await;
        said.ok().and_then(|token| token.as_string()).map(Zeroizing::new).ok_or(NoToken)
    }
}

#[async_trait(?Send)]
impl Transport for Host {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let body = Uint8Array::from(body.as_slice());
        answered(asked(|signal| Host::post(self, url.as_str(), pairs(headers), body, signal)).await)
    }

    async fn get(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        answered(asked(|signal| Host::get(self, url.as_str(), pairs(headers), most, signal)).await)
    }
}

/// Headers, as `fetch` takes them.
fn pairs(headers: &[(&'static str, &str)]) -> Array {
    let pair = |(name, value): &(&'static str, &str)| Array::of2(&(*name).into(), &(*value).into());
    headers.iter().map(pair).collect()
}

fn answered(said: Result<JsValue, JsValue>) -> Result<HttpResponse, NetworkError> {
    let lost = |error: JsValue| error.as_string().unwrap_or_else(|| "there is no answer".to_owned());
    let answer: Answer = said.map_err(|error| NetworkError::Lost(lost(error)))?.unchecked_into();
    let bytes = answer.body();
    let body = Zeroizing::new(bytes.to_vec());
    // Secret: a software realm answers with shares of the secret's key.
    bytes.fill(0, 0, bytes.length());
    Ok(HttpResponse { status: answer.status(), body })
}

#[async_trait(?Send)]
impl Stretcher for Host {
    async fn stretch(&self, stretching: Stretching) -> Result<StretchedPin, InputTooLong> {
        let Stretching { mode, pin, version, user_info } = &stretching;
        let said = asked(|signal| {
            let bytes = |bytes: &[u8]| Uint8Array::from(bytes);
            let (pin, version, user_info) = (bytes(pin.as_bytes()), bytes(&version.0), bytes(user_info));
            Host::stretch(self, hashing_mode_name(*mode), pin, version, user_info, signal)
        });
        match stretched(said).await {
            Some(stretched) => Ok(stretched),
            // A page that responds to nothing for a second is better than a user without their secret.
            None => stretching.run(),
        }
    }
}

async fn stretched(said: impl Future<Output = Result<JsValue, JsValue>>) -> Option<StretchedPin> {
    let bytes: Uint8Array = said.await.ok()?.dyn_into().ok()?;
    let copy = Zeroizing::new(bytes.to_vec());
    bytes.fill(0, 0, bytes.length());
    Some(StretchedPin::from_bytes(copy.as_slice().try_into().ok()?))
}
