//! An app for a local realm, on a page: `client/web/example`, and what an app's own server has to do for it.
//!
//! It serves the files of the page, the npm package as `client/web/build.sh` built it, the client's configuration, and a token for
//! whatever user it is asked for. That is why it listens on this machine alone. The page has another origin than the realm's front
//! door, as in an app that is real.

use crate::Error;
use crate::local::token;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_agent::token::Purpose;
use strongroom_proto::ids::RealmId;
use tokio::net::TcpListener;
use url::Url;
use url::form_urlencoded::parse;

const PAGE: &str = include_str!("../../client/web/example/index.html");
const SCRIPT: &str = include_str!("../../client/web/example/app.js");
const TEXT: &str = "text/plain; charset=utf-8";

/// What the page is told.
pub struct App {
    /// The folder that the realm is kept in.
    pub dir: PathBuf,
    /// The realm.
    pub realm: RealmId,
    /// The configuration for its clients, as JSON.
    pub configuration: String,
    /// Where its requests go.
    pub front: Url,
}

/// Where the page is.
pub struct AppListener(TcpListener);

impl AppListener {
    /// On this machine, at a free port.
    ///
    /// # Errors
    /// There is none.
    pub async fn bind() -> Result<Self, Error> {
        Ok(Self(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?))
    }

    /// The page's address.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn url(&self) -> Result<String, Error> {
        Ok(format!("http://{}/", self.0.local_addr()?))
    }

    /// Serves the page until it is dropped.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, app: App) -> Result<(), Error> {
        Ok(axum::serve(self.0, Router::new().fallback(answer).with_state(Arc::new(app))).await?)
    }
}

/// Where `client/web/build.sh` puts the package.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/web/dist")
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET is all there is\n");
    }
    let path = request.uri().path();
    match path {
        "/" if !package().join("browser.js").exists() => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "The npm package is not built. Build it, then reload: bash client/web/build.sh\n",
        ),
        "/" => page(&app),
        "/app.js" => file("text/javascript", SCRIPT),
        "/configuration.json" => file("application/json", app.configuration.clone()),
        _ => match (path.strip_prefix("/token/"), path.strip_prefix("/strongroom/")) {
            (Some(user), _) => issue(&app, user),
            (_, Some(name)) => packaged(name),
            _ => text(StatusCode::NOT_FOUND, "no such path\n"),
        },
    }
}

fn page(app: &App) -> Response {
    // What `client/web/README.md` says that a page needs. Its style is in the page.
    let policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'unsafe-inline'; img-src data:; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'; connect-src 'self' {}",
        app.front.origin().ascii_serialization()
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, PAGE).into_response()
}

/// A token for a user whose name is percent-encoded.
fn issue(app: &App, user: &str) -> Response {
    // A path has no plus signs that stand for spaces, and no equals signs that part names from values.
    let encoded = user.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    let user: String = parse(encoded.as_bytes()).map(|(name, _)| name.into_owned()).collect();
    match token(&app.dir, &app.realm, &user, Purpose::User) {
        Ok(token) => text(StatusCode::OK, &token),
        Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

fn packaged(name: &str) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => return text(StatusCode::NOT_FOUND, "no such file\n"),
    };
    // A name and no path: nothing but the package is served.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match plain.then(|| std::fs::read(package().join(name))) {
        Some(Ok(bytes)) => file(kind, bytes),
        _ => text(StatusCode::NOT_FOUND, "no such file\n"),
    }
}

fn file(kind: &'static str, content: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, kind)], content.into()).into_response()
}

fn text(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_files_of_the_package_is_served() {
        for name in
            ["../package.json", "..%2fpackage.json", "../../Cargo.toml", "a/../b.js", "package.json", ""]
        {
            assert_eq!(packaged(name).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn a_page_may_ask_the_realm_and_nobody_else() {
        let front = "http://127.0.0.1:8580/req".parse().expect("legal");
        let app = App { dir: PathBuf::new(), realm: RealmId([7; 16]), configuration: String::new(), front };
        let page = page(&app);
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
        assert!(
            policy.starts_with("default-src 'none'; ")
                && policy.ends_with("connect-src 'self' http://127.0.0.1:8580")
        );
    }
}
