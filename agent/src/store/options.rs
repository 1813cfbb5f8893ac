//! What is wrong with the options of a store, by name: found before an agent starts.
//!
//! The library below accepts any text, and finds problems only with the first request; some values make it panic there.
//! Options also come from its usual environment variables. Values may be credentials: no message repeats one.

use super::StoreError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use std::str::FromStr;
use url::Url;

/// A kind of store, as far as its options are concerned.
pub(super) trait Options: Sized + Clone {
    /// Their names.
    type Key: FromStr + AsRef<str> + 'static;
    /// Those that say where the store is and hold its credentials, including from the environment.
    const CHECKED: &'static [Self::Key];
    /// Whether plain HTTP is allowed.
    const ALLOW_HTTP: Self::Key;

    /// Sets one.
    fn with(self, key: Self::Key, value: &str) -> Self;

    /// What is set now.
    fn value(&self, key: &Self::Key) -> Option<String>;
}

macro_rules! options {
    ($builder:ident, $key:ident, [$($checked:ident),*]) => {
        impl Options for $builder {
            type Key = $key;
            const CHECKED: &'static [$key] = &[
                $($key::$checked,)*
                $key::Client(ClientConfigKey::ProxyUrl),
                $key::Client(ClientConfigKey::UserAgent),
            ];
            const ALLOW_HTTP: $key = $key::Client(ClientConfigKey::AllowHttp);

            fn with(self, key: $key, value: &str) -> Self {
                self.with_config(key, value)
            }

            fn value(&self, key: &$key) -> Option<String> {
                self.get_config_value(key)
            }
        }
    };
}

options!(
    AmazonS3Builder,
    AmazonS3ConfigKey,
    [
        AccessKeyId,
        SecretAccessKey,
        Token,
        Region,
        Bucket,
        Endpoint,
        S3Endpoint,
        MetadataEndpoint,
        StsEndpoint,
        ContainerCredentialsFullUri,
        RoleArn,
        RoleSessionName
    ]
);
options!(
    MicrosoftAzureBuilder,
    AzureConfigKey,
    [
        AccountName,
        AccessKey,
        ClientId,
        ClientSecret,
        AuthorityId,
        AuthorityHost,
        SasKey,
        Token,
        Endpoint,
        MsiEndpoint,
        ContainerName
    ]
);
options!(GoogleCloudStorageBuilder, GoogleConfigKey, [Bucket, BaseUrl, BearerToken]);

/// Sets options by name on `start`, which may already have some from the environment. Checks all of them, as far as
/// possible.
pub(super) fn apply<'a, B: Options>(
    scheme: &str,
    start: B,
    options: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<B, StoreError> {
    let mut builder = start;
    for (name, value) in options {
        let key = name.to_ascii_lowercase().parse::<B::Key>();
        let key = key.map_err(|_| StoreError::Option { scheme: scheme.into(), name: name.clone() })?;
        // Under its canonical name, which the environment may use as well.
        let canonical = key.as_ref().to_owned();
        check(&canonical, value).map_err(|wrong| StoreError::Value { name: name.clone(), wrong })?;
        builder = builder.with(key, value);
    }
    for key in B::CHECKED {
        if let Some(value) = builder.value(key) {
            let environment = format!("{} (from the environment)", key.as_ref());
            check(key.as_ref(), &value).map_err(|wrong| StoreError::Value { name: environment, wrong })?;
            let http = is_address_of_store(key.as_ref()) && value.starts_with("http://");
            if http && !builder.value(&B::ALLOW_HTTP).as_deref().is_some_and(is_true) {
                let wrong = "an address with `http://` lets everybody on the way read and change what goes there; use \
                             `https://`, or set `allow_http = \"true\"` as well";
                return Err(StoreError::Value { name: key.as_ref().into(), wrong });
            }
        }
    }
    Ok(builder)
}

/// What is wrong with the value of the option with this name.
fn check(name: &str, value: &str) -> Result<(), &'static str> {
    let is_text = name == "proxy_ca_certificate" || name == "google_service_account_key";
    let is_file = name.ends_with("_file")
        || name == "google_application_credentials"
        || name == "google_service_account";
    if value.is_empty() {
        return Err("it is empty; leave it out, or give it a value");
    }
    if !is_text && value.chars().any(char::is_control) {
        return Err("it has a line break or another control character in it; copy it again without");
    }
    if !is_text && !is_file && !value.is_ascii() {
        return Err("it has characters in it that are not ASCII; copy it again");
    }
    if !is_text && value.trim() != value {
        return Err("it begins or ends with a space; copy it again without");
    }
    if is_address(name) && !is_url(value) {
        return Err(
            "it is an address such as `https://s3.example:9000`, with `https://` or `http://` before it",
        );
    }
    Ok(())
}

fn is_address(name: &str) -> bool {
    ["endpoint", "base_url", "authority_host", "full_uri", "proxy_url", "token_service_url"]
        .iter()
        .any(|part| name.contains(part))
        && name != "azure_use_fabric_endpoint"
}

/// Not the address of a credential service, which some clouds offer unencrypted on the machine itself.
fn is_address_of_store(name: &str) -> bool {
    ["aws_endpoint", "aws_endpoint_url_s3", "azure_storage_endpoint", "google_base_url"].contains(&name)
}

fn is_url(value: &str) -> bool {
    Url::parse(value).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
    })
}

/// Parses it as the library does.
pub(super) fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|yes| yes.eq_ignore_ascii_case(value))
}

/// What an error says, without what it quotes: that may be a value.
pub(super) fn without_quotes(text: &str) -> String {
    let (mut shown, mut quote) = (String::with_capacity(text.len()), None);
    for c in text.chars() {
        match quote {
            None if c == '"' || c == '`' => {
                quote = Some(c);
                shown.push(c);
            }
            None => shown.push(c),
            Some(end) if c == end => {
                quote = None;
                shown.push('…');
                shown.push(c);
            }
            Some(_) => {}
        }
    }
    shown
}
