use reqwest::{Url, redirect::Policy};

/// As many as reqwest follows by default.
const MOST_REDIRECTS: usize = 10;

/// A redirect policy that stays where it is: up to ten redirects within scheme, host and port are followed, any other
/// is handed to the caller as the response that it is.
///
/// reqwest drops the `Authorization` header where a redirect leaves the origin. With this policy it does not even go
/// there: no request of the client is made to a place that another server chose, and none goes out without the token
/// that its caller expects on it.
///
/// A proof (DPoP) names the URL that it was made for, so that an API refuses it after any redirect: take reqwest's
/// `Policy::none()` there.
///
/// ```
/// let client = reqwest::Client::builder()
///     .redirect(hallpass_reqwest::same_origin_redirects())
///     .build()?;
/// # Ok::<(), reqwest::Error>(())
/// ```
pub fn same_origin_redirects() -> Policy {
    Policy::custom(|attempt| {
        let from = attempt.previous().last();
        if !from.is_some_and(|from| is_same_origin(from, attempt.url())) {
            return attempt.stop();
        }
        if attempt.previous().len() > MOST_REDIRECTS {
            return attempt.error("too many redirects");
        }
        attempt.follow()
    })
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.origin().is_tuple() && one.origin() == other.origin()
}
