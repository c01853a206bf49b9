"""Starts an authorization server made with Authlib (PyPI's `authlib`, on Flask), on loopback over TLS.

    tests/peers/.venv/bin/python tests/peers/authlib/server.py [--ttl SECONDS] [--keys DIR]

`cargo xtask test` makes the virtual environment. The library parses and judges requests and writes responses; this file
stores clients and tokens in memory. Prints one line of JSON when it is ready: issuer, token endpoint, clients, and the
directory of the keys. Ends on SIGTERM, or when a piped stdin closes.
"""
import atexit
import hmac
import logging
import os
import shutil
import signal
import sys
import threading
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import peer  # noqa: E402

from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants, scope_to_list  # noqa: E402
from authlib.oauth2.rfc7009 import RevocationEndpoint  # noqa: E402
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant  # noqa: E402
from authlib.oauth2.rfc7662 import IntrospectionEndpoint  # noqa: E402
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata  # noqa: E402
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator  # noqa: E402
from flask import Flask  # noqa: E402
from joserfc.jwk import ECKey, KeySet, OctKey  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

JWT_BEARER = JWTBearerGrant.GRANT_TYPE
METHODS = ["client_secret_basic", "client_secret_post", JWTBearerClientAssertion.CLIENT_AUTH_METHOD]
keys = peer.private_directory()
own_keys = "--keys" not in sys.argv
ttl = peer.flag("--ttl", 3600)
peer.make_keys(keys)

app = Flask("peer")
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["api:read", "api:write"]
logging.getLogger("werkzeug").setLevel(logging.ERROR)
http = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=(os.path.join(keys, "server.crt"), os.path.join(keys, "server.key")))
issuer = f"https://localhost:{http.port}"
clients, tokens, used = {}, {}, set()


class User:
    def get_user_id(self):
        return "jane"


class Client(ClientMixin):
    def __init__(self, client_id, method, grant_types=("client_credentials",), client_secret=None, jwks=None):
        self.client_id, self.client_secret, self.method = client_id, client_secret, method
        self.grant_types, self.jwks = grant_types, jwks
        clients[client_id] = self

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        allowed = ["api:read", "api:write"]
        return " ".join(allowed if not scope else [name for name in scope_to_list(scope) if name in allowed])

    def check_client_secret(self, client_secret):
        return self.client_secret is not None and hmac.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, grant_type):
        return grant_type in self.grant_types


class Token(TokenMixin):
    def __init__(self, client, members):
        self.client, self.members, self.revoked = client, members, False
        self.expires_at = time.time() + members["expires_in"]

    def check_client(self, client):
        return self.client is client

    def get_scope(self):
        return self.members.get("scope", "")

    def is_expired(self):
        return time.time() >= self.expires_at

    def is_revoked(self):
        return self.revoked


def find(text, hint=None):
    return tokens.get(text)


def save(members, oauth_request):
    token = Token(oauth_request.client, members)
    for name in ("access_token", "refresh_token"):
        if name in members:
            tokens[members[name]] = token


class Assertion(JWTBearerClientAssertion):
    def get_audiences(self):
        return [issuer, f"{issuer}/token"]

    def validate_jti(self, claims, jti):
        fresh = (claims["sub"], jti) not in used
        used.add((claims["sub"], jti))
        return fresh

    def resolve_client_public_key(self, client):
        if client.jwks:
            return KeySet.import_key_set(client.jwks)
        return OctKey.import_key(client.client_secret or peer.base64url(os.urandom(32)))


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    def authenticate_user(self, username, password):
        return User() if (username, password) == ("jane", "password") else None


class Refresh(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = find(refresh_token)
        return token if token and not token.revoked else None

    def authenticate_user(self, refresh_token):
        return User()

    def revoke_old_credential(self, refresh_token):
        refresh_token.revoked = True


class Bearer(JWTBearerGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def get_audiences(self):
        return [issuer, f"{issuer}/token"]

    def resolve_issuer_client(self, issuer):
        client = clients.get(issuer)
        return client if client and client.jwks else None

    def resolve_client_public_key(self, client):
        return KeySet.import_key_set(client.jwks)

    def authenticate_user(self, subject):
        return User()

    def has_granted_permission(self, client, user):
        return True


class AccessTokens(JWTBearerTokenGenerator):
    def get_jwks(self):
        return ECKey.import_key(peer.read(keys, "es256.pem"))

class Revocation(RevocationEndpoint):
    def query_token(self, token_string, token_type_hint):
        return find(token_string)

    def revoke_token(self, token, request):
        token.revoked = True


class Introspection(IntrospectionEndpoint):
    def query_token(self, token_string, token_type_hint):
        return find(token_string)

    def check_permission(self, token, client, request):
        return token.client is client

    def introspect_token(self, token):
        return {"active": True, "client_id": token.client.client_id, "token_type": "Bearer", "scope": token.get_scope(), "exp": int(token.expires_at), "iss": issuer}


server = AuthorizationServer(app, query_client=clients.get, save_token=save)
for grant in [ClientCredentials, Password, Refresh, Bearer]:
    server.register_grant(grant)
for endpoint in [Revocation, Introspection]:
    server.register_endpoint(endpoint)
server.register_client_auth_method(Assertion.CLIENT_AUTH_METHOD, Assertion())
generator = AccessTokens(issuer, alg="ES256", refresh_token_generator=lambda **_: peer.base64url(os.urandom(32)), expires_generator=lambda *_: ttl)
server.register_token_generator("default", generator)

app.post("/token", endpoint="token")(server.create_token_response)
app.post("/revoke", endpoint="revoke")(lambda: server.create_endpoint_response(Revocation.ENDPOINT_NAME))
app.post("/introspect", endpoint="introspect")(lambda: server.create_endpoint_response(Introspection.ENDPOINT_NAME))


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    document = AuthorizationServerMetadata(
        issuer=issuer,
        token_endpoint=f"{issuer}/token",
        revocation_endpoint=f"{issuer}/revoke",
        introspection_endpoint=f"{issuer}/introspect",
        response_types_supported=[],
        grant_types_supported=["client_credentials", "password", "refresh_token", JWT_BEARER],
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported=["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"],
    )
    return dict(document)


assertion = Assertion.CLIENT_AUTH_METHOD
Client("basic", "client_secret_basic", client_secret=peer.SECRET)
Client("post", "client_secret_post", client_secret=peer.SECRET)
Client("secret-jwt", assertion, client_secret=peer.SECRET)
Client("exchange", "client_secret_basic", ("client_credentials", JWT_BEARER), client_secret=peer.SECRET)
Client("reports", "client_secret_basic", ("password", "refresh_token"), client_secret="reports-secret")
for kind in ["rs256", "ps256", "es256", "es384", "eddsa"]:
    algorithm = {"eddsa": "EdDSA"}.get(kind, kind.upper())
    Client(f"key-{kind}", assertion, ("client_credentials", JWT_BEARER), jwks={"keys": [peer.jwk(keys, f"{kind}.pem", kid=kind, alg=algorithm)]})


@atexit.register
def stop():
    if own_keys:
        shutil.rmtree(keys, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
threading.Thread(target=http.serve_forever, daemon=True).start()
registered = [{"client_id": client.client_id, "client_secret": client.client_secret} for client in clients.values()]
peer.ready(issuer=issuer, token_endpoint=f"{issuer}/token", keys=keys, clients=registered, resources=["https://orders.example/api"], sign_in="grant_type=password&username=jane&password=password&scope=api:read")
peer.wait_for_end()
