use std::time::Duration;

use super::preset::{AudienceRule, Preset, Scopes, SecretAuthentication};

/// ServiceNow: `instance` is the name of the instance, without `.service-now.com`.
pub static SERVICENOW: Preset = Preset {
    name: "ServiceNow",
    token_endpoint: "https://{instance}.service-now.com/oauth_token.do",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "The grant is off by default: create the system property `glide.oauth.inbound.client.credential.grant_type.enabled`, and set `OAuth Application User` in the OAuth entity.",
        "Until a token expires, further requests return the same token.",
        "The granted scope is always `useraccount`: the token has the rights of its user.",
        "A wrong secret is refused as `server_error` with HTTP 401 and the description `access_denied`.",
        "Requests in JSON are refused.",
    ],
    sources: &[
        "https://www.servicenow.com/docs/r/platform-security/authentication/client-credentials.html",
        "https://www.servicenow.com/docs/r/platform-security/authentication/r_OAuthAPIResponseParameters.html",
        "https://www.servicenow.com/docs/r/zurich/platform-security/authentication/r_OAuthAPIRequestParameters.html",
        "https://www.servicenow.com/community/developer-forum/it-is-not-possible-to-get-an-oauth-token/m-p/3146789",
        "https://github.com/demisto/content-docs/issues/1301",
    ],
    ..Preset::STANDARD
};

/// Salesforce: `domain` is the organization's My Domain, such as `acme.my.salesforce.com`.
pub static SALESFORCE: Preset = Preset {
    name: "Salesforce",
    token_endpoint: "https://{domain}/services/oauth2/token",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    // The shortest session timeout that can be set.
    default_lifetime: Some(Duration::from_secs(15 * 60)),
    // For the `!` in a token.
    lenient_responses: true,
    quirks: &[
        "The response has no `expires_in`: a token is valid for the session timeout in Setup, which is 15 minutes to 24 hours of inactivity; 15 minutes are assumed.",
        "A token contains `!`, which RFC 6750 section 2.1 does not allow; it is accepted.",
        "`login.salesforce.com` does not support this grant.",
        "The external client app needs the flow enabled, and an integration user, whose rights the token has.",
        "A wrong consumer key is refused as `invalid_client_id` with HTTP 400.",
        "`instance_url` in the response is the address of the organization's APIs.",
    ],
    sources: &[
        "https://help.salesforce.com/apex/HTViewHelpDoc?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm",
        "https://developer.salesforce.com/docs/atlas.en-us.262.0.chatterapi.meta/chatterapi/quickstart_connecting.htm",
        "https://developer.salesforce.com/docs/platform/sf-connect-dev-guide/guide/sf-connect-xorg-troubleshooting.html",
        "https://developer.salesforce.com/docs/atlas.en-us.chatterapi.meta/chatterapi/intro_oauth_tokens.htm",
        "https://developer.salesforce.com/docs/atlas.en-us.242.0.api_meta.meta/api_meta/meta_profilesessionsetting.htm",
        "https://github.com/omniphx/forrest/issues/184",
        "https://github.com/restforce/restforce/issues/338",
    ],
    ..Preset::STANDARD
};

/// Zoom, with a Server-to-Server OAuth app; each request needs the parameter `account_id`.
pub static ZOOM: Preset = Preset {
    name: "Zoom",
    token_endpoint: "https://zoom.us/oauth/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    grant_type: Some("account_credentials"),
    parameters: &["account_id"],
    quirks: &[
        "The grant is Zoom's own, `account_credentials`; credentials of another type of app are refused as `unsupported_grant_type`.",
        "A wrong secret is refused as `invalid_client` with HTTP 400, and the text is in `reason`.",
        "Tokens are valid for one hour, and stop working when the app is deactivated.",
    ],
    sources: &[
        "https://developers.zoom.us/docs/rooms/s2s-oauth/",
        "https://developers.zoom.us/docs/integrations/oauth-error-messages/",
        "https://developers.zoom.us/blog/s2s-token-generation-troubleshoot/",
        "https://github.com/JubaerHossain/zoom-laravel/issues/3",
    ],
    ..Preset::STANDARD
};

/// PayPal's REST APIs, live.
pub static PAYPAL: Preset = Preset {
    name: "PayPal",
    token_endpoint: "https://api-m.paypal.com/v1/oauth2/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "The sandbox has its own credentials and its own preset; credentials of the other one are refused.",
        "A wrong secret is refused as `invalid_client` with HTTP 401.",
        "The response has `app_id` and `nonce` besides the token.",
    ],
    sources: &[
        "https://developer.paypal.com/api/rest/authentication/",
        "https://developer.paypal.com/api/make-api-requests.md",
        "https://github.com/paypal/PayPal-Ruby-SDK/issues/296",
        "https://github.com/paypal/PayPal-PHP-SDK/issues/916",
    ],
    ..Preset::STANDARD
};

/// PayPal's REST APIs, in the sandbox.
pub static PAYPAL_SANDBOX: Preset = Preset {
    name: "PayPal sandbox",
    token_endpoint: "https://api-m.sandbox.paypal.com/v1/oauth2/token",
    ..PAYPAL
};

/// UPS, in production.
pub static UPS: Preset = Preset {
    name: "UPS",
    token_endpoint: "https://onlinetools.ups.com/security/v1/oauth/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "`expires_in` is a string of digits, which is accepted.",
        "Errors are UPS's own format, `response.errors`, with a number and a message; a wrong secret is refused with HTTP 401.",
        "The optional header `x-merchant-id` has the six-digit account number: set it with `request_header`.",
        "Tokens are valid for four hours.",
        "HTTP 403 stands for a blocked merchant, and HTTP 429 for an exceeded quota.",
    ],
    sources: &[
        "https://github.com/UPS-API/api-documentation/blob/main/OAuthClientCredentials.yaml",
        "https://developer.ups.com/api/reference/oauth/client-credentials",
        "https://packagist.org/packages/ups-api/php-widget-sdk",
    ],
    ..Preset::STANDARD
};

/// UPS, in the Customer Integration Environment, for tests.
pub static UPS_TEST: Preset = Preset {
    name: "UPS test environment",
    token_endpoint: "https://wwwcie.ups.com/security/v1/oauth/token",
    ..UPS
};

/// Databricks, with a token for one workspace: `host` is the workspace's.
pub static DATABRICKS: Preset = Preset {
    name: "Databricks",
    token_endpoint: "https://{host}/oidc/v1/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "The scope of the documentation's requests is `all-apis`.",
        "The client is a service principal with an OAuth secret; one that Microsoft Entra ID manages is refused here, and gets its tokens from Microsoft Entra ID.",
        "Tokens are valid for one hour.",
        "A wrong secret is refused as `invalid_client`.",
    ],
    sources: &[
        "https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m",
        "https://learn.microsoft.com/azure/databricks/dev-tools/auth/oauth-m2m",
        "https://github.com/databricks/databricks-sql-nodejs/issues/279",
        "https://github.com/databrickslabs/brickster/issues/185",
    ],
    ..Preset::STANDARD
};

/// Databricks, with a token for the account and its workspaces: `host` is the account console's, such as
/// `accounts.cloud.databricks.com`, `account` the account's id.
pub static DATABRICKS_ACCOUNT: Preset = Preset {
    name: "Databricks account",
    token_endpoint: "https://{host}/oidc/accounts/{account}/v1/token",
    ..DATABRICKS
};

/// eBay, in production, with an application access token.
pub static EBAY: Preset = Preset {
    name: "eBay",
    token_endpoint: "https://api.ebay.com/identity/v1/oauth2/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Required,
    token_type_name: Some("Application Access Token"),
    // For the `^` and `#` in a token.
    lenient_responses: true,
    quirks: &[
        "The `token_type` of a response is `Application Access Token`, which is accepted as `Bearer`.",
        "A token contains `^` and `#`, which RFC 6750 section 2.1 does not allow; they are accepted.",
        "Tokens are valid for two hours.",
        "The sandbox has credentials of its own.",
    ],
    sources: &[
        "https://developer.ebay.com/api-docs/static/oauth-client-credentials-grant.html",
        "https://developer.ebay.com/api-docs/static/oauth-tokens.html",
    ],
    ..Preset::STANDARD
};

/// eBay, in the sandbox.
pub static EBAY_SANDBOX: Preset = Preset {
    name: "eBay sandbox",
    token_endpoint: "https://api.sandbox.ebay.com/identity/v1/oauth2/token",
    ..EBAY
};

/// FedEx, in production.
pub static FEDEX: Preset = Preset {
    name: "FedEx",
    token_endpoint: "https://apis.fedex.com/oauth/token",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "Tokens are valid for one hour.",
        "The sandbox has credentials of its own.",
        "A customer of an integrator has a child key and secret too: the grant is then FedEx's own, set with `grant_type`, and they are the parameters `child_Key` and `child_secret`; that secret is a parameter, which is not hidden.",
        "Errors are FedEx's own format, `errors`, with a code and a message; a wrong secret is refused with HTTP 401.",
    ],
    sources: &[
        "https://developer.fedex.com/api/en-us/catalog/authorization/docs.html",
        "https://developer.fedex.com/api/en-gr/catalog/authorization/docs.html",
    ],
    ..Preset::STANDARD
};

/// FedEx, in the sandbox.
pub static FEDEX_SANDBOX: Preset = Preset {
    name: "FedEx sandbox",
    token_endpoint: "https://apis-sandbox.fedex.com/oauth/token",
    ..FEDEX
};
