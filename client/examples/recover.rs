//! Registers a secret and recovers it: `cargo run --example recover -- configuration.json`, with the auth token of the
//! only realm in `STRONGROOM_TOKEN`.

use std::num::NonZeroU8;
use strongroom_client::{Client, Configuration, Error, ErrorKind, FixedTokens, Pin, UserSecret};

/// A permanent name of the user, or nothing, as here and in the command. With a different one, the right PIN is wrong.
const USER_INFO: &[u8] = b"";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a configuration file")?;
    let configuration: Configuration = std::fs::read_to_string(path)?.parse()?;
    let realm = configuration.realms()[0].id();
    let tokens = FixedTokens::from_iter([(realm, std::env::var("STRONGROOM_TOKEN")?)]);
    let client = Client::builder(configuration, tokens).build()?;

    let secret = UserSecret::new(b"correct horse battery staple")?;
    client.register(&Pin::from("4821"), &secret, USER_INFO, NonZeroU8::new(5).unwrap()).await?;
    match client.recover(&Pin::from("4821"), USER_INFO).await {
        Ok(secret) => println!("recovered {} bytes", secret.as_bytes().len()),
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => {
            println!("{guesses_remaining} guesses left")
        }
        Err(error) => println!("{error}"),
    }
    Ok(())
}
