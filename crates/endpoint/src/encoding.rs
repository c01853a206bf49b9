//! Form encoding of requests (RFC 6749 appendix B).

use hallpass_core::TokenRequest;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The parameter whose value is JSON (RFC 9396 section 6).
pub(crate) const AUTHORIZATION_DETAILS: &str = "authorization_details";

/// Returns the request's parameters except the scopes.
fn parameters_without_scopes(request: &TokenRequest) -> impl Iterator<Item = (&str, &str)> {
    let details = request.authorization_details();
    (request.resources().map(|value| ("resource", value)))
        .chain(request.audiences().map(|value| ("audience", value)))
        .chain(details.map(|details| (AUTHORIZATION_DETAILS, details.as_str())))
        .chain(request.parameters())
}

/// Writes exactly these parameters.
pub(crate) fn parameters(pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    token_request(pairs, &TokenRequest::new())
}

/// Writes the parameters of a grant, then the request's; never reallocated, so no copy remains in memory.
pub(crate) fn token_request(pairs: &[(&str, &str)], request: &TokenRequest) -> Zeroizing<Vec<u8>> {
    let scope = request.scopes();
    let all = || {
        let scope = (!scope.is_empty()).then_some(("scope", scope.as_str()));
        let pairs = pairs.iter().copied().chain(scope);
        pairs.chain(parameters_without_scopes(request))
    };
    let length: usize = all().map(max_length).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(length));
    form.extend_pairs(all());
    Zeroizing::new(form.finish().into_bytes())
}

/// Returns the maximum encoded length of a parameter: three bytes per byte.
pub(crate) fn max_length((name, value): (&str, &str)) -> usize {
    3 * (name.len() + value.len()) + 2
}
