//! Which pages may ask from a browser, and for how long it remembers that they may.
//!
//! By default all may: a token lets a user in, not the page that has it. An operator who names origins keeps other pages from
//! asking; whoever has no browser is not kept from anything.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use url::Url;

/// A day: without any, browsers ask again every five seconds. Some forget sooner: Chromium after two hours.
const MAX_AGE_S: u32 = 86_400;

/// Which pages may ask from a browser (the Fetch standard, "CORS protocol").
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawCors")]
pub struct Cors {
    /// The origins of the pages that may; `None`: all.
    origins: Option<Vec<HeaderValue>>,
    max_age_s: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCors {
    origins: Vec<String>,
    max_age_s: u32,
}

impl Default for RawCors {
    fn default() -> Self {
        Self { origins: vec!["*".to_owned()], max_age_s: MAX_AGE_S }
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self { origins: None, max_age_s: MAX_AGE_S }
    }
}

impl TryFrom<RawCors> for Cors {
    type Error = String;

    fn try_from(RawCors { origins, max_age_s }: RawCors) -> Result<Self, String> {
        if max_age_s > MAX_AGE_S {
            return Err(format!("max_age_s is from 0 to {MAX_AGE_S}, which works well"));
        }
        if origins == ["*"] {
            return Ok(Self { origins: None, max_age_s });
        }
        let origins = origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
        Ok(Self { origins: Some(origins), max_age_s })
    }
}

/// An origin as browsers write it, which is how it is compared.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let wanted =
        "write scheme, host and port as browsers do, such as `https://app.example`, or [\"*\"] for any page";
    let url = Url::parse(text).map_err(|_| format!("`{text}` is no origin; {wanted}"))?;
    let as_browsers_do = url.origin().ascii_serialization();
    if as_browsers_do != text {
        return Err(format!("`{text}` is no origin; {wanted}"));
    }
    HeaderValue::from_str(text).map_err(|_| format!("`{text}` is no origin; {wanted}"))
}

impl Cors {
    /// The routes, which let any page in, as this lets them in.
    pub fn of(self, routes: Router) -> Router {
        if self == Self::default() {
            routes
        } else {
            routes.layer(from_fn_with_state(Arc::new(self), marked))
        }
    }

    /// Says in an answer whether the page may read it.
    fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if headers.contains_key(ACCESS_CONTROL_MAX_AGE) {
            headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age_s.into());
        }
        let Some(allowed) = &self.origins else { return };
        if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        // A cache must not give one page what was meant for another.
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| allowed.contains(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        } else {
            for header in [
                ACCESS_CONTROL_ALLOW_ORIGIN,
                ACCESS_CONTROL_ALLOW_HEADERS,
                ACCESS_CONTROL_ALLOW_METHODS,
                ACCESS_CONTROL_MAX_AGE,
            ] {
                headers.remove(header);
            }
        }
    }
}

async fn marked(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = next.run(request).await;
    cors.mark(origin.as_ref(), response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    fn app() -> HeaderValue {
        HeaderValue::from_static("https://app.example")
    }

    fn cors(origins: &[&str], max_age_s: u32) -> Result<Cors, String> {
        RawCors { origins: origins.iter().map(|origin| (*origin).to_owned()).collect(), max_age_s }.try_into()
    }

    /// What a preflight is answered, by default.
    fn preflight() -> HeaderMap {
        let any = |name| (name, HeaderValue::from_static("*"));
        let age = (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S.into());
        [any(ACCESS_CONTROL_ALLOW_ORIGIN), any(ACCESS_CONTROL_ALLOW_HEADERS), age].into_iter().collect()
    }

    #[test]
    fn a_page_that_is_named_is_let_in_by_name_and_others_are_told_nothing() {
        let cors = cors(&["https://app.example", "http://127.0.0.1:8080"], 600).expect("legal");
        let mut headers = preflight();
        cors.mark(Some(&app()), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], app());
        assert_eq!(
            (&headers[VARY], &headers[ACCESS_CONTROL_MAX_AGE]),
            (&"origin".parse().unwrap(), &600.into())
        );
        let stranger = HeaderValue::from_static("https://app.example.org");
        for origin in [None, Some(&stranger), Some(&HeaderValue::from_static("null"))] {
            let mut headers = preflight();
            cors.mark(origin, &mut headers);
            assert_eq!(
                headers.into_iter().collect::<Vec<_>>(),
                [(Some(VARY), HeaderValue::from_static("origin"))]
            );
        }
    }

    #[test]
    fn any_page_is_let_in_by_default_for_as_long_as_is_said() {
        assert_eq!(cors(&["*"], MAX_AGE_S), Ok(Cors::default()));
        let mut headers = preflight();
        cors(&["*"], 60).expect("legal").mark(Some(&app()), &mut headers);
        assert_eq!(
            (&headers[ACCESS_CONTROL_ALLOW_ORIGIN], headers.get(VARY)),
            (&HeaderValue::from_static("*"), None)
        );
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], HeaderValue::from(60));
    }

    #[tokio::test]
    async fn what_routes_answer_goes_out_marked() {
        let routes = || Router::new().route("/", get(|| async { [(ACCESS_CONTROL_ALLOW_ORIGIN, "*")] }));
        let request = || Request::get("/").header(ORIGIN, app()).body(Body::empty()).expect("a request");
        let named = cors(&["https://app.example"], 60).expect("legal").of(routes());
        let answer = named.oneshot(request()).await.expect("it answers");
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], app());
        let answer = Cors::default().of(routes()).oneshot(request()).await.expect("it answers");
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn what_no_browser_would_send_is_no_origin() {
        for origin in [
            "app.example",
            "https://app.example/",
            "https://App.example",
            "https://a:443",
            "null",
            "",
            "file:///a",
        ] {
            let refused = cors(&[origin, "https://app.example"], 60).expect_err(origin);
            assert!(refused.contains("https://app.example"), "{refused}");
        }
        assert!(cors(&["*", "https://app.example"], 60).is_err(), "all, and one of them");
        assert!(cors(&["*"], MAX_AGE_S + 1).expect_err("too long").contains("86400"));
        assert!(cors(&[], 60).is_ok(), "no page at all");
    }
}
