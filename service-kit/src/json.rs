//! Strict JSON request bodies: anything doubtful is refused with a [`Problem`] that says why,
//! without repeating a value of the body.

mod array;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};
pub use event::json::{DEPTH_MAX, depth};
use event::{
    Invalid, json,
    media_type::{self, is_json},
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::value::RawValue;

use self::array::Elements;
use crate::body;
use crate::problem::Problem;

const CONTENT_TYPE_BYTES_SHOWN: usize = 100;

/// Extractor of a JSON body. Derive `T` with `#[serde(deny_unknown_fields)]`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        parse(&body::in_memory(request.into_body()).await).map(Self)
    }
}

/// 415 unless the headers declare plain JSON.
pub fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    check_encoding(headers)?;
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type(
            "the Content-Type header is missing: send application/json",
        ));
    };
    let content_type = content_type.to_str().unwrap_or("not ASCII");
    if is_json(content_type) {
        return Ok(());
    }
    let essence = media_type::essence(content_type);
    let curl = if essence.eq_ignore_ascii_case(media_type::FORM) {
        ", which curl -d sends (use curl --json)"
    } else {
        ""
    };
    let message = format!(
        "the Content-Type is {}{curl}; send application/json, in UTF-8",
        shown(content_type)
    );
    Err(Problem::unsupported_media_type(message))
}

/// The beginning of a Content-Type, for the client that sent it.
pub fn shown(content_type: &str) -> &str {
    let end = content_type.floor_char_boundary(CONTENT_TYPE_BYTES_SHOWN);
    match &content_type[..end] {
        "" => "empty",
        shown => shown,
    }
}

/// 415 for a compressed body: it would pass every limit here and burst at its receiver.
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    // RFC 9110 section 15.5.16 asks for this header in the answer.
    Err(
        Problem::unsupported_media_type("content encodings are not supported").with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        ),
    )
}

/// Parses a body that must be a JSON object; every error is a 400.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    json::parse(bytes).map_err(bad_request)
}

/// Parses an object that is part of a body which was parsed by [`parse`]; every error is a 400.
pub fn parse_part<'a, T: Deserialize<'a>>(part: &'a RawValue) -> Result<T, Problem> {
    json::parse_part(part).map_err(bad_request)
}

/// The elements of a body that must be a JSON array, each as it was written; every error is a 400,
/// and more than `count_max` of them a 413. How deep they nest is left to who parses them.
pub fn parse_array(bytes: &[u8], count_max: usize) -> Result<Vec<&RawValue>, Problem> {
    let text = json::document(bytes).map_err(bad_request)?;
    if !text.trim_ascii_start().starts_with('[') {
        return Err(Problem::bad_request("the body is not a JSON array"));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let elements = Elements { count_max }.deserialize(&mut parser);
    let (elements, count) = elements
        .and_then(|elements| parser.end().map(|()| elements))
        .map_err(|error| Problem::bad_request(json::describe(&error)))?;
    if count > count_max {
        let message = format!("the array has {count} elements, and {count_max} are allowed");
        return Err(Problem::content_too_large(message));
    }
    Ok(elements)
}

/// 400 unless a body is JSON, of whatever kind. Nothing is kept of it, numbers of any size are fine.
pub fn check(bytes: &[u8]) -> Result<(), Problem> {
    json::check(bytes).map_err(bad_request)
}

/// 400 when `bytes` nests deeper than [`DEPTH_MAX`].
pub fn check_depth(bytes: &[u8]) -> Result<(), Problem> {
    json::check_depth(bytes).map_err(bad_request)
}

fn bad_request(reason: Invalid) -> Problem {
    Problem::bad_request(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Input {
        count: u32,
        #[serde(default)]
        level: Option<Level>,
        #[serde(default)]
        data: Option<Box<RawValue>>,
    }

    #[derive(Deserialize, Debug)]
    enum Level {
        Low,
    }

    fn refusal(body: &str) -> String {
        let problem = parse::<Input>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.status(), 400);
        problem.message().to_owned()
    }

    #[test]
    fn data_keeps_its_bytes() {
        let data = r#"{ "n": 1e400, "big": 18446744073709551617,"n":NULL}"#.replace("NULL", "null");
        let body = format!(r#"{{"count":1,"level":"Low","data":{data}}}"#);
        let input: Input = parse(body.as_bytes()).unwrap();
        assert_eq!(input.count, 1);
        assert!(matches!(input.level, Some(Level::Low)));
        assert_eq!(input.data.unwrap().get(), data);
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            "",
            " ",
            "{",
            r#"{"count":NaN}"#,
            r#"{"count":1}x"#,
            "\u{feff}{\"count\":1}",
            r#"{"count":1,"data":01}"#,
            r#"{"count":1,"data":'a'}"#,
            " [1]",
        ] {
            refusal(body);
        }
        let invalid_utf8 = b"{\"count\":1,\"data\":\"\xff\"}";
        assert_eq!(parse::<Input>(invalid_utf8).unwrap_err().status(), 400);
    }

    #[test]
    fn a_value_of_another_type_is_not_called_invalid_json() {
        for level in ["1", "true", "[]", "{}"] {
            let body = format!(r#"{{"count":1,"level":{level}}}"#);
            assert!(
                refusal(&body).starts_with("wrong type"),
                "{}",
                refusal(&body)
            );
        }
        #[derive(Deserialize, Debug)]
        struct Required {
            #[serde(rename = "level")]
            _level: Level,
        }
        let problem = parse::<Required>(br#"{"level":null}"#).unwrap_err();
        assert!(problem.message().starts_with("wrong type"), "{problem:?}");
        assert!(refusal(r#"{"level":nul}"#).contains("not valid JSON"));
    }

    #[test]
    fn wrong_fields_are_named() {
        for (body, reason) in [
            (r#"{}"#, "missing field `count`"),
            (r#"{"count":1,"count":2}"#, "duplicate field `count`"),
            (r#"{"count":1,"extra":2}"#, "unknown field `extra`"),
        ] {
            assert!(
                refusal(body).starts_with(reason),
                "{body}: {}",
                refusal(body)
            );
        }
    }

    #[test]
    fn values_are_not_repeated() {
        for body in [
            r#"{"count":"hunter2"}"#,
            r#"{"count":"hunter2 at line 1, expected ` hunter2"}"#,
            r#"{"count":1,"level":"hunter2"}"#,
            r#"{"count":1,"level":"hunter2`, expected `hunter2"}"#,
            r#"["hunter2"]"#,
        ] {
            assert!(!refusal(body).contains("hunter2"), "{}", refusal(body));
        }
        let long_name = format!(r#"{{"{}":1}}"#, "x".repeat(10_000));
        assert!(refusal(&long_name).len() < 200);
    }

    #[test]
    fn what_is_accepted_parses_at_a_receiver() {
        let nested = |levels: usize| {
            format!(
                r#"{{"count":1,"data":{}{}}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        let deepest: Input = parse(nested(DEPTH_MAX - 1).as_bytes()).unwrap();
        serde_json::from_str::<serde_json::Value>(&nested(DEPTH_MAX - 1)).unwrap();
        assert!(deepest.data.is_some());
        assert!(refusal(&nested(DEPTH_MAX)).contains("nested deeper"));
        assert!(refusal(&nested(100_000)).contains("nested deeper"));
        serde_json::from_str::<serde_json::Value>(&nested(DEPTH_MAX)).unwrap_err();
    }

    #[test]
    fn the_elements_of_an_array_keep_their_bytes_and_are_counted() {
        let elements = |body: &'static str| {
            let elements = parse_array(body.as_bytes(), 3);
            elements.map(|all| all.into_iter().map(RawValue::get).collect::<Vec<_>>())
        };
        assert_eq!(elements(" [] ").unwrap(), [""; 0]);
        assert_eq!(
            elements(r#"[ 1e400 ,{"a" :1},"x"]"#).unwrap(),
            ["1e400", r#"{"a" :1}"#, "\"x\""]
        );
        assert_eq!(elements("[1,2,3,4]").unwrap_err().status(), 413);
        for body in ["", "{}", "1", "[1", "[1,]", "[1] 2", "[NaN]", "\u{feff}[]"] {
            assert_eq!(elements(body).unwrap_err().status(), 400, "{body}");
        }
        assert_eq!(parse_array(b"[\"\xff\"]", 3).unwrap_err().status(), 400);
    }

    #[test]
    fn any_json_passes_and_nothing_else() {
        for body in ["1e400", " null ", "\"x\"", "[1]", r#"{"a":1,"a":2}"#] {
            check(body.as_bytes()).unwrap();
        }
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        for body in ["", " ", "NaN", "1 2", "{", "\u{feff}1", &deep] {
            assert_eq!(check(body.as_bytes()).unwrap_err().status(), 400, "{body}");
        }
        assert!(check(b"\"\xff\"").is_err());
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = format!(r#"{{"count":1,"data":"\"\\{}"}}"#, "[".repeat(500));
        parse::<Input>(text.as_bytes()).unwrap();
    }

    #[test]
    fn media_types() {
        for json in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "application/cloudevents+json",
            "text/json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn a_form_is_told_what_to_do() {
        let mut headers = HeaderMap::new();
        assert!(check_headers(&headers).is_err());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let problem = check_headers(&headers).unwrap_err();
        assert_eq!(problem.status(), 415);
        assert!(problem.message().contains("curl --json"));
    }

    #[test]
    fn the_content_type_that_was_sent_is_named() {
        let long = format!("text/{}", "x".repeat(9000));
        for (sent, named) in [
            ("text/plain;charset=UTF-8", "is text/plain;charset=UTF-8;"),
            ("application/octet-stream", "is application/octet-stream;"),
            ("application/json; charset=latin1", "charset=latin1;"),
            ("Application/X-WWW-Form-Urlencoded", "curl --json"),
            ("multipart/form-data; boundary=x", "multipart/form-data"),
            ("application/jsonp", "is application/jsonp;"),
            ("", "the Content-Type is empty;"),
            ("text/\u{e9}", "not ASCII"),
            (&long, "text/xxx"),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(sent.as_bytes()).unwrap();
            headers.insert(header::CONTENT_TYPE, value);
            let problem = check_headers(&headers).unwrap_err();
            let message = problem.message();
            assert_eq!(problem.status(), 415);
            assert!(message.contains(named), "{message}");
            assert!(
                message.contains("send application/json, in UTF-8"),
                "{message}"
            );
            assert!(message.len() < 250, "{message}");
        }
    }

    #[test]
    fn content_encodings_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(check_headers(&headers).unwrap_err().status(), 415);
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        check_headers(&headers).unwrap();
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(check_headers(&headers).unwrap_err().status(), 415);
    }
}
