//! The SPIFFE ID in an X.509-SVID.

use x509_cert::{
    certificate::Certificate,
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
};

/// Returns the SPIFFE ID of a leaf certificate with exactly one URI (X.509-SVID sections 2 and 4.1).
pub(super) fn spiffe_id(certificate: &Certificate) -> Option<Box<str>> {
    let certificate = certificate.tbs_certificate();
    let constraints = certificate.get_extension::<BasicConstraints>().ok()?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return None;
    }
    let (_, names) = certificate.get_extension::<SubjectAltName>().ok()??;
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let id = uris.next().filter(|uri| uri.starts_with("spiffe://"))?;
    uris.next().is_none().then(|| id.into())
}
