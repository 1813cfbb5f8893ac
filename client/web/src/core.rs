//! The client, as `js/strongroom.js` calls it.

use std::future::Future;
use std::num::NonZeroU8;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use js_sys::{Promise, Uint8Array};
use strongroom_client::{Client, Configuration, Pin, Progress, RetryPolicy, UserSecret};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::convert::{attempts_json, error_json, repair_json, status_json, step_name, thrown};
use crate::host::Host;

/// One client. Its promises are rejected with a text: the JSON of an error.
///
/// Each operation takes a promise that is decided when its outcome is no longer wanted. The operation then ends where it is, and
/// its own promise is rejected with null.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    client: Rc<Client>,
}

#[wasm_bindgen]
impl Core {
    /// A client at these realms. `patience_ms` and `copy_after_ms` are those of the SDK's retry policy, if given; a negative
    /// `copy_after_ms` stands for never.
    ///
    /// # Errors
    ///
    /// A configuration breaks a rule. The error's text names it.
    #[wasm_bindgen(constructor)]
    pub fn new(
        host: &Host,
        configuration: &str,
        previous: Vec<String>,
        patience_ms: Option<f64>,
        copy_after_ms: Option<f64>,
    ) -> Result<Core, JsError> {
        let read = |text: &str| Configuration::from_json(text).map_err(thrown);
        let previous = previous.iter().map(|text| read(text)).collect::<Result<Vec<_>, _>>()?;
        let mut retry = RetryPolicy::default();
        if let Some(patience) = patience_ms {
            retry.patience = millis(patience);
        }
        if let Some(after) = copy_after_ms {
            retry.copy_after = (after >= 0.0).then(|| millis(after));
        }
        let reported = host.clone();
        let client = Client::builder(read(configuration)?, host.clone())
            .previous(previous)
            .retry_policy(retry)
            .stretcher(host.clone())
            .on_progress(move |step: Progress| reported.progress(step_name(step)))
            .build_with(host.clone());
        Ok(Self { client: Rc::new(client) })
    }

    /// Registers. Resolves to nothing.
    ///
    /// # Errors
    ///
    /// The secret is too long, or there are no guesses.
    pub fn register(
        &self,
        pin: Vec<u8>,
        secret: &[u8],
        user_info: Vec<u8>,
        guesses: u8,
        unwanted: Promise,
    ) -> Result<Promise, JsError> {
        let guesses = NonZeroU8::new(guesses).ok_or_else(|| JsError::new("allow at least one guess"))?;
        let secret = UserSecret::new(secret).map_err(thrown)?;
        let (client, pin) = (Rc::clone(&self.client), Pin::new(pin));
        Ok(promised(unwanted, async move {
            let done = client.register(&pin, &secret, &user_info, guesses).await;
            done.map(|()| JsValue::UNDEFINED).map_err(|error| error_json(&error))
        }))
    }

    /// Recovers. Resolves to the secret's bytes.
    pub fn recover(&self, pin: Vec<u8>, user_info: Vec<u8>, unwanted: Promise) -> Promise {
        let (client, pin) = (Rc::clone(&self.client), Pin::new(pin));
        promised(unwanted, async move {
            let done = client.recover(&pin, &user_info).await;
            done.map(|secret| Uint8Array::from(secret.as_bytes()).into()).map_err(|error| error_json(&error))
        })
    }

    /// Asks what is registered. Resolves to the JSON of it.
    pub fn status(&self, unwanted: Promise) -> Promise {
        let client = Rc::clone(&self.client);
        promised(unwanted, async move { Ok(status_json(&client.status().await).into()) })
    }

    /// Changes the PIN. Resolves to nothing.
    pub fn change_pin(&self, old: Vec<u8>, new: Vec<u8>, user_info: Vec<u8>, unwanted: Promise) -> Promise {
        let client = Rc::clone(&self.client);
        let (old, new) = (Pin::new(old), Pin::new(new));
        promised(unwanted, async move {
            let changed = client.change_pin(&old, &new, &user_info).await;
            changed.map(|()| JsValue::UNDEFINED).map_err(|error| error_json(&error))
        })
    }

    /// Repairs. Resolves to the JSON of what was done.
    pub fn repair(&self, pin: Vec<u8>, user_info: Vec<u8>, unwanted: Promise) -> Promise {
        let client = Rc::clone(&self.client);
        let pin = Pin::new(pin);
        promised(unwanted, async move {
            let repaired = client.repair(&pin, &user_info).await;
            repaired.map(|repair| repair_json(&repair).into()).map_err(|error| error_json(&error))
        })
    }

    /// Asks which requests counted. Resolves to the JSON of it.
    pub fn attempts(&self, unwanted: Promise) -> Promise {
        let client = Rc::clone(&self.client);
        promised(unwanted, async move { Ok(attempts_json(&client.attempts().await).into()) })
    }

    /// Deletes. Resolves to nothing.
    pub fn delete(&self, unwanted: Promise) -> Promise {
        let client = Rc::clone(&self.client);
        promised(unwanted, async move {
            client.delete().await.map(|()| JsValue::UNDEFINED).map_err(|error| error_json(&error))
        })
    }

    /// Waits for what operations have left under way. Resolves to nothing.
    pub fn close(&self) -> Promise {
        let client = Rc::clone(&self.client);
        future_to_promise(async move {
            client.close().await;
            Ok(JsValue::UNDEFINED)
        })
    }
}

/// JavaScript has no durations; one that is none counts as zero.
fn millis(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1000.0).unwrap_or_default()
}

/// The promise of an operation, which ends where it is as soon as it is unwanted.
fn promised(
    unwanted: Promise,
    operation: impl Future<Output = Result<JsValue, String>> + 'static,
) -> Promise {
    future_to_promise(async move {
        match select(pin!(operation), JsFuture::from(unwanted)).await {
            Either::Left((done, _)) => done.map_err(JsValue::from),
            Either::Right(_) => Err(JsValue::NULL),
        }
    })
}
