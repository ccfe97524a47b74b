"""Signed requests and client certificates, by programs that are not ours.

`signed_calls.py keys`   writes keys of every algorithm, and certificates, into this folder.
`signed_calls.py signed PORT`   signs with http-message-signatures, and calls.
`signed_calls.py mtls PORT`     calls with client certificates, by Python's own TLS.

Each call fails by an assertion; `ok` is printed otherwise.
"""

import base64
import datetime
import http.client
import ipaddress
import secrets
import ssl
import sys
import time
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

BODY = b'{"hello": "world"}'
COVERED = ("@method", "@target-uri", "content-digest")
PRIVATE = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

# What signs, by the name of its key.
ALGORITHMS = {
    "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
    "rsa-v1_5-sha256": algorithms.RSA_V1_5_SHA256,
    "hmac-sha256": algorithms.HMAC_SHA256,
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
    "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
    "ed25519": algorithms.ED25519,
}


def write(name, content):
    Path(name).write_bytes(content)


def keys():
    makers = {
        "rsa-pss-sha512": lambda: rsa.generate_private_key(65537, 2048),
        "rsa-v1_5-sha256": lambda: rsa.generate_private_key(65537, 2048),
        "ecdsa-p256-sha256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-p384-sha384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    for name, make in makers.items():
        key = make()
        write(f"{name}.private", key.private_bytes(*PRIVATE))
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write(f"{name}.pem", public)
    secret = secrets.token_bytes(32)
    write("hmac-sha256.private", secret)
    write("hmac-sha256.secret", base64.b64encode(secret))
    certificates()


def named(*parts):
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def issue(file, subject, alternative, issuer=None, days=1):
    """A certificate and its key, signed by `issuer` or, as an authority, by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority, by = issuer or (subject, key)
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
    )
    if issuer is None:
        signs = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        made = made.add_extension(x509.KeyUsage(**signs), critical=True)
    if alternative:
        made = made.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    made = made.sign(by, hashes.SHA256())
    write(f"{file}.crt", made.public_bytes(serialization.Encoding.PEM))
    write(f"{file}.key", key.private_bytes(*PRIVATE))
    return subject, key


def certificates():
    organization = (NameOID.ORGANIZATION_NAME, "Acme")
    ours = issue("ca", named((NameOID.COMMON_NAME, "Ours")), None)
    theirs = issue("other-ca", named((NameOID.COMMON_NAME, "Ours")), None)
    address = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issue("server", named((NameOID.COMMON_NAME, "gateway")), address, ours)
    till = named(organization, (NameOID.COMMON_NAME, "till"))
    spiffe = [x509.UniformResourceIdentifier("spiffe://example.org/till")]
    issue("till", till, spiffe, ours)
    issue("forged", till, spiffe, theirs)
    issue("expired", till, spiffe, ours, days=-1)
    issue("stranger", named((NameOID.COMMON_NAME, "till,O=Acme")), None, ours)


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return Path(f"{key_id}.private").read_bytes()


def sign(request, algorithm, key=None, covered=COVERED, **more):
    signer = HTTPMessageSigner(signature_algorithm=ALGORITHMS[algorithm], key_resolver=Keys())
    signer.sign(
        request,
        key_id=key or algorithm,
        covered_component_ids=covered,
        body=request.body,
        **more,
    )
    return request


def signed(port):
    url = f"http://127.0.0.1:{port}"
    session = requests.Session()

    def post(path="/orders?id=7&name=a%20b", body=BODY):
        request = requests.Request("POST", url + path, data=body)
        return session.prepare_request(request)

    def send(request):
        answer = session.send(request)
        if answer.status_code == 401:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code

    # What was signed in the second of the start might be from before it.
    end = time.monotonic() + 20
    while send(sign(post(), "ed25519", nonce=secrets.token_hex())) != 200:
        assert time.monotonic() < end, "waited for a signature to count"
        time.sleep(0.05)

    for algorithm in ALGORITHMS:
        for include_alg in (True, False):
            request = sign(post(), algorithm, include_alg=include_alg, nonce=secrets.token_hex())
            assert send(request) == 200, algorithm
            # The same again, on another connection.
            assert requests.post(url + "/orders?id=7&name=a%20b", data=BODY,
                                 headers=request.headers).status_code == 401, algorithm

    every = (
        "@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query",
        '"@query-param";name="id"', '"@query-param";name="name"', "content-length",
        '"content-digest";sf', '"accept";bs',
    )
    assert send(sign(post(), "ed25519", covered=every)) == 200
    parts = ("@method", "@scheme", "@authority", "@path", "@query", "content-digest")
    assert send(sign(post(), "ed25519", covered=parts)) == 200
    get = session.prepare_request(requests.Request("GET", url + "/orders"))
    assert send(sign(get, "ed25519", covered=("@method", "@target-uri"))) == 200

    refused(post, send)


def refused(post, send):
    """Each attack differs from what is fine in one thing."""
    now = datetime.datetime.now()
    minutes = datetime.timedelta(minutes=1)

    def fresh(**more):
        return sign(post(), "ed25519", nonce=secrets.token_hex(), **more)

    assert send(fresh()) == 200
    assert send(post()) == 401
    altered = fresh()
    altered.body = BODY.replace(b"world", b"WORLD")
    assert send(altered) == 401
    altered = fresh()
    altered.method = "PUT"
    assert send(altered) == 401
    altered = fresh()
    altered.url = altered.url.replace("id=7", "id=8")
    assert send(altered) == 401
    altered = fresh()
    altered.headers["Content-Digest"] = "sha-256=:AAAA:"
    assert send(altered) == 401
    assert send(fresh(created=now - 10 * minutes)) == 401
    assert send(fresh(created=now + minutes)) == 401
    assert send(fresh(created=now, expires=now - minutes)) == 401
    # Of a header left out of the signature anybody could say anything.
    left_out = post()
    left_out.body, body = None, left_out.body
    sign(left_out, "ed25519", covered=("@method", "@target-uri"))
    left_out.body = body
    assert send(left_out) == 401
    # Another's key under this name, and a name that nobody has.
    assert send(with_key(post(), "unknown")) == 401
    assert send(with_key(post(), "rsa-pss-sha512")) == 401


def with_key(request, name):
    """Signed with the Ed25519 key, which is said to be another."""

    class Lies(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id):
            return Path("ed25519.private").read_bytes()

    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Lies())
    signer.sign(request, key_id=name, covered_component_ids=COVERED, body=request.body)
    return request


def mtls(port):
    def call(certificate, path):
        """The status and the body of an answer; 0 when the connection is refused."""
        trust = ssl.create_default_context(cafile="ca.crt")
        if certificate:
            trust.load_cert_chain(f"{certificate}.crt", f"{certificate}.key")
        connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=trust, timeout=20)
        try:
            connection.request("GET", path, headers={"x-consumer": "root", "X_Subject": "root"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (ssl.SSLError, ConnectionError):
            return 0, ""
        finally:
            connection.close()

    assert call("till", "/subject") == (200, "acme as CN=till,O=Acme")
    assert call("till", "/spiffe") == (200, "acme as spiffe://example.org/till")
    # A name that looks like acme's is another, and is refused where only acme may call.
    assert call("stranger", "/subject")[0] == 403
    assert call("stranger", "/spiffe")[0] == 401
    assert call(None, "/subject")[0] == 401
    assert call("forged", "/subject")[0] == 0
    assert call("expired", "/subject")[0] == 0
    # Nobody lends a certificate to the next connection.
    assert call(None, "/spiffe")[0] == 401


if __name__ == "__main__":
    {"keys": keys, "signed": signed, "mtls": mtls}[sys.argv[1]](*sys.argv[2:])
    print("ok")
