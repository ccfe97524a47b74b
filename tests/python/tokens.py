"""Makes keys and tokens of every algorithm with joserfc, or verifies a token with it.

tokens.py make FOLDER ISSUER AUDIENCE    keys.json in the folder, tokens on standard output
tokens.py verify KEYS TOKEN AUDIENCE     the claims on standard output
"""

import json
import sys
import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

ALGORITHMS = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512", "none",
]


def key_for(algorithm):
    options = {"kid": algorithm, "use": "sig"}
    if algorithm[:2] in ("RS", "PS"):
        return RSAKey.generate_key(2048, options)
    if algorithm.startswith("ES"):
        return ECKey.generate_key("P-" + {"256": "256", "384": "384", "512": "521"}[algorithm[2:]], options)
    if algorithm.startswith("Ed"):
        return OKPKey.generate_key("Ed25519", options)
    return OctKey.generate_key(512, options)


def make(folder, issuer, audience):
    now = int(time.time())
    keys, tokens = [], {}
    for algorithm in ALGORITHMS:
        key = key_for(algorithm)
        if algorithm != "none":
            keys.append(key.as_dict(private=algorithm.startswith("HS")))
        header = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}

        def token(**changes):
            claims = {
                "iss": issuer, "aud": [audience, "another"], "sub": "alice", "scope": "users.read",
                "iat": now, "nbf": now, "exp": now + 600, "realm_access": {"roles": ["buyer"]},
            }
            claims.update(changes)
            return jwt.encode(header, claims, key, algorithms=[algorithm])

        tokens[algorithm] = {
            "good": token(),
            "expired": token(exp=now - 60),
            "early": token(nbf=now + 600),
            "elsewhere": token(aud="another"),
            "stranger": token(iss="https://stranger.example"),
        }
    (Path(folder) / "keys.json").write_text(json.dumps({"keys": keys}))
    json.dump(tokens, sys.stdout)


def verify(keys, token, audience):
    keys = KeySet.import_key_set(json.loads(keys))
    read = jwt.decode(token, keys, algorithms=["ES256", "EdDSA"])
    expected = {"iss": {"essential": True}, "exp": {"essential": True}, "aud": {"essential": True, "value": audience}}
    jwt.JWTClaimsRegistry(**expected).validate(read.claims)
    json.dump(read.claims, sys.stdout)


if __name__ == "__main__":
    {"make": make, "verify": verify}[sys.argv[1]](*sys.argv[2:])
