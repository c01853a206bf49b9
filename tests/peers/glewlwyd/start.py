#!/usr/bin/env python3
"""Starts Glewlwyd (Debian's package `glewlwyd`), an authorization server in C, on loopback over TLS.

    python3 tests/peers/glewlwyd/start.py [--ttl SECONDS] [--dpop-nonce] [--keys DIR]

Prints one line of JSON when it is ready: issuer, token endpoint, clients, and the directory of the keys. Ends on SIGTERM,
or when a piped stdin closes. Exits with 69 if the program is missing.
"""
import atexit
import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import peer  # noqa: E402

SCHEMA = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
MODULES = "/usr/lib/glewlwyd"

if not shutil.which("glewlwyd") or not os.path.exists(SCHEMA):
    print("start.py: glewlwyd is missing: install Debian's package glewlwyd", file=sys.stderr)
    sys.exit(69)

keys = peer.private_directory()
own_keys = "--keys" not in sys.argv
ttl = peer.flag("--ttl", 3600)
peer.make_keys(keys)
database = os.path.join(keys, "glewlwyd.db")
with open(SCHEMA) as schema:
    connection = sqlite3.connect(database)
    connection.executescript("PRAGMA synchronous=OFF; BEGIN;" + schema.read() + "COMMIT;")
    connection.close()


def start():
    """Starts the server on a port that was free a moment ago."""
    port = peer.free_port()
    settings = f"""
port={port}
bind_address="127.0.0.1"
external_url="https://localhost:{port}"
login_url="login.html"
api_prefix="api"
log_mode="file"
log_level="DEBUG"
log_file="{keys}/glewlwyd.log"
cookie_domain="localhost"
cookie_secure=0
session_expiration=2419200
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{MODULES}/user"
client_module_path="{MODULES}/client"
user_auth_scheme_module_path="{MODULES}/scheme"
plugin_module_path="{MODULES}/plugin"
use_secure_connection=true
secure_connection_key_file="{keys}/server.key"
secure_connection_pem_file="{keys}/server.crt"
secure_connection_ca_file="{keys}/ca.crt"
hash_algorithm="SHA512"
database = {{ type = "sqlite3" path = "{database}" }};
"""
    path = os.path.join(keys, "glewlwyd.conf")
    with open(path, "w") as file:
        file.write(settings)
    # It ends with this process, however that ends.
    command = ["setpriv", "--pdeathsig", "TERM", "glewlwyd", "--config-file", path]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return server, f"https://localhost:{port}/api"


session = {}
server = None
browser = urllib.request.build_opener(
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=os.path.join(keys, "ca.crt"))),
    urllib.request.ProxyHandler({}),
)


def call(path, body):
    request = urllib.request.Request(f"{base}/{path}", json.dumps(body).encode(), {"content-type": "application/json", **session})
    try:
        return browser.open(request).headers
    except urllib.error.HTTPError as error:
        sys.exit(f"start.py: {path} was refused: {error.code} {error.read().decode()}")


@atexit.register
def stop():
    if server:
        server.terminate()
        server.wait()
    if own_keys:
        shutil.rmtree(keys, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
give_up = time.monotonic() + 20
while not session:
    # Another program may have taken the port in between.
    if server is None or server.poll() is not None:
        server, base = start()
    try:
        signed_in = call("auth", {"username": "admin", "password": "password"})
        session["cookie"] = signed_in["set-cookie"].split(";")[0]
    except urllib.error.URLError:
        if time.monotonic() > give_up:
            sys.exit("start.py: glewlwyd did not start")
        time.sleep(0.02)

for name in ["api:read", "api:write"]:
    call("scope", {"name": name, "display_name": name, "password_required": False, "scheme": {}})
call("user", {"username": "jane", "password": "password", "name": "Jane", "enabled": True, "scope": ["api:read", "api:write"], "source": "database"})
RESOURCE = "https://orders.example/api"
call(
    "mod/plugin",
    {
        "module": "oidc",
        "name": "oidc",
        "display_name": "oidc",
        "enabled": True,
        "parameters": {
            "iss": f"{base}/oidc",
            "jwt-type": "ecdsa",
            "jwt-key-size": "256",
            "key": peer.read(keys, "es256.pem"),
            "cert": peer.run("openssl", "pkey", "-in", "es256.pem", "-pubout", cwd=keys).decode(),
            "code-duration": 600,
            "refresh-token-duration": 3600,
            "access-token-duration": ttl,
            "allow-non-oidc": True,
            "auth-type-client-enabled": True,
            "auth-type-code-enabled": True,
            "auth-type-refresh-enabled": True,
            "auth-type-password-enabled": True,
            "refresh-token-rolling": True,
            "refresh-token-one-use": "always",
            "client-pubkey-parameter": "pubkey",
            "client-jwks-parameter": "jwks",
            "request-parameter-allow": True,
            "request-maximum-exp": 3600,
            "client-cert-source": "TLS",
            "client-cert-self-signed-allowed": True,
            "client-cert-use-endpoint-aliases": True,
            "introspection-revocation-allowed": True,
            "introspection-revocation-allow-target-client": True,
            "oauth-dpop-allowed": True,
            "oauth-dpop-iat-duration": 60,
            "oauth-dpop-nonce-mandatory": "--dpop-nonce" in sys.argv,
            "oauth-dpop-nonce-counter": 1000,
            "resource-allowed": True,
            "resource-scope": {"api:read": [RESOURCE], "api:write": [RESOURCE]},
            "resource-scope-and-client-property": False,
        },
    },
)

clients = []


def client(client_id, method, **more):
    described = {
        "client_id": client_id,
        "name": client_id,
        "confidential": True,
        "enabled": True,
        "scope": ["api:read", "api:write"],
        "authorization_type": ["client_credentials", "refresh_token", "password"],
        "token_endpoint_auth_method": [method],
        "redirect_uri": ["https://client.example/"],
        **more,
    }
    call("client", {**described, "source": "database"})
    clients.append({name: described.get(name) for name in ("client_id", "client_secret")})


client("basic", "client_secret_basic", client_secret=peer.SECRET)
client("post", "client_secret_post", client_secret=peer.SECRET)
client("secret-jwt", "client_secret_jwt", client_secret=peer.SECRET)
for kind in ["rs256", "ps256", "es256", "es384", "eddsa"]:
    client(f"key-{kind}", "private_key_jwt", jwks={"keys": [peer.jwk(keys, f"{kind}.pem", kid=kind, alg={"eddsa": "EdDSA"}.get(kind, kind.upper()))]})
client("mtls", "tls_client_auth", tls_client_auth_san_dns="client.peer")
client("mtls-self-signed", "self_signed_tls_client_auth", jwks={"keys": [peer.jwk(keys, "self-signed.key", kid="self-signed", x5c=[peer.certificate(keys, "self-signed.crt")])]})
client("dpop", "client_secret_basic", client_secret=peer.SECRET)

peer.ready(issuer=f"{base}/oidc", token_endpoint=f"{base}/oidc/token", keys=keys, clients=clients, resources=[RESOURCE], sign_in="grant_type=password&username=jane&password=password&scope=api:read")
peer.wait_for_end()
