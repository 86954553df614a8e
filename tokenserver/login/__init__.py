"""The user of a login token.

An app with users has a login service that gives each of them a login token: a JSON Web
Token, three base64url parts with dots between (header, claims, signature).

    users.py        user IDs that are safe in a session policy, and their session names
    strict_json.py  JSON that all parsers read in the same way
    keys.py         keys from files: an HS256 secret, or a public key in PEM
    jwks.py         keys from the URL where the login service publishes them
    verifier.py     LoginVerifier: a token in, its user or a LoginError out

keys.py, jwks.py and verifier.py need PyJWT.

Sources: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7519 (JWT), 8725 (best current
practices), 8037 (EdDSA), 9068 (access tokens).
"""
