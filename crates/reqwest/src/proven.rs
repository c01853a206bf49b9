//! The way of a request whose token takes a proof (RFC 9449): as the other one, with a fresh proof each time.

use hallpass_core::{
    AccessToken,
    authorize::{Permit, Verdict},
};
use reqwest::{Request, Response};

use crate::{
    send::{Transport, judge, put, told},
    spare::Spare,
};

/// Sends `request` with this token and a proof, again with each nonce that the API demands, and with another token where
/// it refuses this one.
pub(crate) async fn send_proven<T: Transport>(
    transport: &mut T,
    mut permit: Permit,
    mut token: AccessToken,
    mut request: Request,
) -> Result<Response, T::Error> {
    loop {
        let spare = Spare::of(&mut request, transport.sees_extensions());
        let proof = permit.proof(&token, request.method(), request.url().path());
        let proof = proof.await.map_err(T::no_token)?;
        put(&token, &mut request);
        if let Some(proof) = proof {
            let proof = proof.header_value().clone();
            request.headers_mut().insert("dpop", proof);
        }
        let response = transport.execute(request).await?;
        let refusal = match judge(&mut permit, &token, &response) {
            Verdict::Retry(refusal) => refusal,
            Verdict::Refused(refusal) => return Ok(told(response, refusal)),
            _ => return Ok(response),
        };
        let spare = spare.and_then(|spare| spare.for_another_try(response.url()));
        let Some(spare) = spare else {
            return Ok(told(response, refusal));
        };
        let replacement = permit.replacement(&token).await.map_err(T::no_token)?;
        let Some(other) = replacement else {
            return Ok(told(response, refusal));
        };
        (token, request) = (other, spare);
    }
}
