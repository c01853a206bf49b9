"""Starts an authorization server made with idpyoidc (PyPI's `idpyoidc`, on Flask), on loopback over TLS.

    tests/peers/.venv/bin/python tests/peers/idpyoidc/server.py [--ttl SECONDS] [--keys DIR]

`cargo xtask test` makes the virtual environment. The library parses and judges requests and makes the members of
responses; this file is its configuration and its HTTP server. Prints one line of JSON when it is ready: issuer, token
endpoint, clients, and the directory of the keys. Ends on SIGTERM, or when a piped stdin closes.
"""
import atexit
import logging
import os
import shutil
import signal
import sys
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import peer  # noqa: E402

from flask import Flask, request  # noqa: E402
from idpyoidc.message.oauth2 import ResponseMessage  # noqa: E402
from idpyoidc.server import Server  # noqa: E402
from idpyoidc.server.configure import ASConfiguration  # noqa: E402
from idpyoidc.server.oauth2.token_helper.client_credentials import ClientCredentials  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
METHODS = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"]
HELPERS = "idpyoidc.server.oauth2.token_helper"
keys = peer.private_directory()
own_keys = "--keys" not in sys.argv
ttl = peer.flag("--ttl", 3600)
peer.make_keys(keys)

app = Flask("peer")
logging.getLogger("werkzeug").setLevel(logging.ERROR)
http = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=(os.path.join(keys, "server.crt"), os.path.join(keys, "server.key")))
issuer = f"https://localhost:{http.port}"
usage = {"access_token": {"supports_minting": ["access_token"], "expires_in": ttl}}
jwt = {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": ttl}}
secrets = [{"type": "oct", "kid": "sig", "use": ["sig"]}, {"type": "oct", "kid": "enc", "use": ["enc"]}]
key_definitions = [{"type": "EC", "crv": "P-256", "use": ["sig"]}, {"type": "RSA", "use": ["sig"]}]


class Machine(ClientCredentials):
    """Client credentials whose tokens can be exchanged: the library applies no usage rules to them."""

    def process_request(self, req, **kwargs):
        # Version 5.0.0 fails on the second request of a client, where it finds the session of the first one.
        sessions = self.endpoint.upstream_get("context").session_manager
        before = sessions.branch_key("client_credentials", req["client_id"])
        if before in sessions.db:
            del sessions.db[before]
        return super().process_request(req, **kwargs)

    def _mint_token(self, token_class, grant, **kwargs):
        grant.usage_rules = usage
        return super()._mint_token(token_class=token_class, grant=grant, **kwargs)


configuration = {
    "issuer": issuer,
    "cookie_handler": {"class": "idpyoidc.server.cookie_handler.CookieHandler", "kwargs": {"keys": {"key_defs": secrets}}},
    "keys": {"uri_path": "jwks.json", "key_defs": key_definitions},
    "endpoint": {
        "token": {"path": "token", "class": "idpyoidc.server.oauth2.token.Token", "kwargs": {"client_authn_method": METHODS, "grant_types_helpers": {
            "client_credentials": {"class": Machine, "kwargs": {}},
            EXCHANGE: {"class": f"{HELPERS}.token_exchange.TokenExchangeHelper", "kwargs": {"requested_token_types_supported": [ACCESS_TOKEN], "policy": {"": {"function": f"{HELPERS}.validate_token_exchange_policy"}}}},
        }}},
        "introspection": {"path": "introspect", "class": "idpyoidc.server.oauth2.introspection.Introspection", "kwargs": {"client_authn_method": METHODS, "enable_claims_per_client": False}},
        "token_revocation": {"path": "revoke", "class": "idpyoidc.server.oauth2.token_revocation.TokenRevocation", "kwargs": {"client_authn_method": METHODS}},
    },
    "authz": {"class": "idpyoidc.server.authz.AuthzHandling", "kwargs": {"grant_config": {"usage_rules": usage, "expires_in": 43200}}},
    "token_handler_args": {"key_conf": {"key_defs": secrets}, "token": jwt},
    "session_params": {"encrypter": {"kwargs": {"keys": {"key_defs": secrets}, "iterations": 1}}},
}
server = Server(ASConfiguration(conf=configuration, base_path=keys), cwd=keys)
clients = []


def client(client_id, method, client_secret=None, jwk=None):
    server.context.cdb[client_id] = {
        "client_secret": client_secret,
        "client_salt": "salt",
        "token_endpoint_auth_method": method,
        "grant_types_supported": ["client_credentials", EXCHANGE],
        "enforce_audience_restriction": False,
        "allowed_scopes": ["api:read", "api:write"],
    }
    if client_secret:
        server.keyjar.add_symmetric(client_id, client_secret)
    if jwk:
        server.keyjar.import_jwks({"keys": [jwk]}, client_id)
    clients.append({"client_id": client_id, "client_secret": client_secret})


def respond(name):
    endpoint = server.get_endpoint(name)
    info = {"headers": {key.lower(): value for key, value in request.headers.items()}, "method": request.method, "url": request.base_url}
    try:
        parsed = endpoint.parse_request(request.form.to_dict(), http_info=info)
        if isinstance(parsed, ResponseMessage) and "error" in parsed:
            return parsed.to_dict(), 400
        answer = endpoint.process_request(parsed, http_info=info)
    except Exception as error:  # The library's example reports its exceptions in this way, also for a wrong secret.
        return {"error": "invalid_request", "error_description": str(error)}, 400
    if "error" in answer:
        return dict(answer), 400
    response = endpoint.do_response(request=parsed, **answer)
    return response["response"], response.get("response_code", 200), response["http_headers"]


for path, name in [("token", "token"), ("introspect", "introspection"), ("revoke", "token_revocation")]:
    app.post(f"/{path}", endpoint=path)(lambda name=name: respond(name))


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    return dict(server.context.provider_info)


client("basic", "client_secret_basic", peer.SECRET)
client("post", "client_secret_post", peer.SECRET)
client("secret-jwt", "client_secret_jwt", peer.SECRET)
client("exchange", "client_secret_basic", peer.SECRET)
for kind in ["rs256", "ps256", "es256", "es384", "eddsa"]:
    algorithm = {"eddsa": "EdDSA"}.get(kind, kind.upper())
    client(f"key-{kind}", "private_key_jwt", jwk=peer.jwk(keys, f"{kind}.pem", kid=kind, alg=algorithm))


@atexit.register
def stop():
    if own_keys:
        shutil.rmtree(keys, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
threading.Thread(target=http.serve_forever, daemon=True).start()
peer.ready(issuer=issuer, token_endpoint=f"{issuer}/token", keys=keys, clients=clients, resources=["https://orders.example/api"])
peer.wait_for_end()
