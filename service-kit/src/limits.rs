//! Limits on the head of a request. hyper's own limits are set above these, because hyper's own
//! refusals have no body.

use axum::http::{HeaderMap, StatusCode, Uri};

use crate::problem::Problem;

/// Longest path with its query.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Most header lines.
const HEADERS_MAX: usize = 100;
/// Largest sum of header names and values.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Refuses a long URI with 414, and too many or too large headers with 431.
pub(crate) fn check_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let uri_bytes = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "uri-too-long",
            format!("the request target is longer than {URI_BYTES_MAX} bytes"),
        ));
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > HEADERS_MAX || header_bytes > HEADER_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            format!("more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of headers"),
        ));
    }
    Ok(())
}
