"""Helpers of the authorization servers in this directory: keys, certificates, a free port, the line that says "ready".

Only the standard library and the `openssl` command are used, so that each server's own interpreter can import it.
"""
import base64
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile

SECRET = "s3cr3t+/=:&%~ of more than 32 bytes"


def run(*command, cwd=None):
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def private_directory():
    """Returns the directory of `--keys DIR`, or a new one."""
    if "--keys" in sys.argv:
        path = sys.argv[sys.argv.index("--keys") + 1]
        os.makedirs(path, exist_ok=True)
        return path
    return tempfile.mkdtemp(prefix="peer-")


def flag(name, default):
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


def make_keys(keys):
    """Writes a CA, a server's and clients' certificates, and private keys of each kind."""

    def openssl(*arguments):
        run("openssl", *arguments, cwd=keys)

    def authority(name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.crt",
                "-subj", f"/O=peer/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def issue(name, extensions, by="ca"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O=peer/CN={name}")
        with open(os.path.join(keys, f"{name}.ext"), "w") as file:
            file.write(extensions)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext")

    authority("ca")
    authority("stranger")
    issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    issue("client", "subjectAltName=DNS:client.peer\nextendedKeyUsage=clientAuth\n")
    issue("client-other", "subjectAltName=DNS:other.peer\nextendedKeyUsage=clientAuth\n")
    issue("client-stranger", "subjectAltName=DNS:client.peer\nextendedKeyUsage=clientAuth\n", by="stranger")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", "self-signed.key", "-out", "self-signed.crt", "-subj", "/O=peer/CN=self-signed")
    for name, options in {
        "rs256": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "ps256": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "es256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "es384": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "eddsa": ["ED25519"],
    }.items():
        openssl("genpkey", "-algorithm", *options, "-out", f"{name}.pem")


def read(keys, name):
    with open(os.path.join(keys, name)) as file:
        return file.read()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(keys, name, **members):
    """Returns the public key of a private key's file as a JWK (RFC 7517)."""
    der = run("openssl", "pkey", "-in", name, "-pubout", "-outform", "DER", cwd=keys)
    curves = {91: ("P-256", 32), 120: ("P-384", 48)}
    if len(der) == 44:
        key = {"kty": "OKP", "crv": "Ed25519", "x": base64url(der[-32:])}
    elif len(der) in curves:
        curve, size = curves[len(der)]
        key = {"kty": "EC", "crv": curve, "x": base64url(der[-2 * size : -size]), "y": base64url(der[-size:])}
    else:
        modulus = run("openssl", "rsa", "-in", name, "-noout", "-modulus", cwd=keys).decode().strip().split("=")[1]
        key = {"kty": "RSA", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB"}
    return {**key, "use": "sig", **members}


def certificate(keys, name):
    """Returns a certificate as a member of `x5c`: Base64 of its DER."""
    return base64.b64encode(run("openssl", "x509", "-in", name, "-outform", "DER", cwd=keys)).decode()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ready(**members):
    """Prints the one line of JSON that a test waits for."""
    print(json.dumps({"event": "ready", **members}), flush=True)


def wait_for_end():
    """Returns when a piped standard input closes, as it does if the test dies. Without a pipe it waits for a signal."""
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        while os.read(0, 4096):
            pass
        return
    import signal

    signal.pause()
