//! The messages of the Workload API, without the fields that are not read.

use std::fmt;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JwtSvidRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) audience: Vec<String>,
    /// The SPIFFE ID of the requested SVID; empty for all.
    #[prost(string, tag = "2")]
    pub(crate) spiffe_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JwtSvidResponse {
    /// The default one first.
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<JwtSvidMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct JwtSvidMessage {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(string, tag = "2")]
    pub(crate) svid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidResponse {
    /// The default one first.
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509SvidMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct X509SvidMessage {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    /// The certificate and its chain, in DER, one after the other.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    /// The private key, PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
}

impl fmt::Debug for JwtSvidMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSvidMessage(..)")
    }
}

impl fmt::Debug for X509SvidMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X509SvidMessage(..)")
    }
}

/// Returns the first SVID, or the one with this SPIFFE ID.
pub(crate) fn select<S>(svids: Vec<S>, wanted: Option<&str>, id: impl Fn(&S) -> &str) -> Option<S> {
    let mut svids = svids.into_iter();
    svids.find(|svid| wanted.is_none_or(|wanted| id(svid) == wanted))
}
