"""Who made a checkpoint: signatures of manifests, and pins of the checkpoints that are bundled.

A manifest holds the sha256 of every other file, so whoever signs it signs all. Signed is the id
together with the manifest, so that none passes under the name of another. Signatures are Ed25519
(RFC 8032) by `cryptography`; keys are PEM as OpenSSL writes them: the private one PKCS#8, of public
ones as many as are trusted, one after another.

The bundled checkpoints need no key: `bundled.sha256` has the sha256 of their manifests, and no
other checkpoint is taken for one of them. After a change of what is bundled:

    cd engine/bundled && sha256sum */MANIFEST.json > ../bundled.sha256
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engine.errors import UntrustedError
from engine.settings import PREFIX, EngineSettings, SettingsError

BUNDLED = "bundled"
"""Who vouches for what came with Yuefu."""
UNCHECKED = "unchecked"
"""Who vouches where no key is trusted, and so none is asked for."""
_PINS = Path(__file__).with_name("bundled.sha256")
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_CONTEXT = b"yuefu checkpoint"
_KEY_ID_HEX = 16


class Signer:
    """Signs checkpoints with one key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = _key_id(key.public_key())
        """What the key is known by."""

    @classmethod
    def parse(cls, pem: str) -> Self:
        """The signer whose private key that is.

        Raises:
            ValueError: it is none.
        """
        try:
            key = serialization.load_pem_private_key(pem.encode(), password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            # The library's own words may be about what is secret.
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 private key in PEM, without a password")
        return cls(key)

    @classmethod
    def generate(cls) -> Self:
        """One with a new key."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def private_pem(self) -> str:
        """The private key, which must stay secret."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @property
    def public_pem(self) -> str:
        """The public key, for whoever shall trust this signer."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def sign(self, checkpoint: str, manifest: bytes) -> bytes:
        """The contents of the file of a checkpoint's signature, by its id and manifest."""
        signature = self._key.sign(_message(checkpoint, manifest))
        return f"{self.key_id} {base64.b64encode(signature).decode()}\n".encode()


class Keyring:
    """Whose checkpoints are taken: what is pinned, and what trusted keys have signed."""

    def __init__(
        self, keys: Mapping[str, Ed25519PublicKey], *, pins: Mapping[str, str] | None = None
    ) -> None:
        """Trust `keys`, by their ids, or without any whatever is not pinned.

        `pins` are sha256 of manifests by checkpoint; by default those of the bundled ones.
        """
        self._keys = keys
        self._pins = _bundled_pins() if pins is None else pins

    @classmethod
    def parse(cls, pem: str) -> Self:
        """The keyring with the public keys in `pem`.

        Raises:
            ValueError: there is none, or one of another kind.
        """
        keys = [_public_key(found[0]) for found in _BLOCK.finditer(pem)]
        if not keys:
            # An empty file must not mean that everybody is trusted.
            raise ValueError("no public key in it; without it, none is asked for")
        return cls({_key_id(key): key for key in keys})

    @classmethod
    def of(cls, settings: EngineSettings) -> Self:
        """The keyring that the settings name.

        Raises:
            SettingsError: what they name holds no keys.
        """
        if settings.trusted_keys is None:
            return cls({})
        try:
            return cls.parse(settings.trusted_keys)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}TRUSTED_KEYS: {error}") from None

    @property
    def is_strict(self) -> bool:
        """Whether checkpoints have to be signed."""
        return bool(self._keys)

    def trusts(self, signer: Signer) -> bool:
        """Whether what `signer` signs is taken here."""
        return not self.is_strict or signer.key_id in self._keys

    def voucher(self, checkpoint: str, manifest: bytes, signature: bytes | None) -> str:
        """Who vouches for a checkpoint: the id of a key, `BUNDLED` or `UNCHECKED`.

        Raises:
            UntrustedError: nobody does.
        """
        pin = self._pins.get(checkpoint)
        if pin is not None:
            if hashlib.sha256(manifest).hexdigest() != pin:
                raise UntrustedError(
                    f"{checkpoint} is not the one that came with Yuefu: install it again"
                )
            return BUNDLED
        if not self.is_strict:
            return UNCHECKED
        return self._signer(checkpoint, manifest, signature)

    def _signer(self, checkpoint: str, manifest: bytes, signature: bytes | None) -> str:
        if signature is None:
            raise UntrustedError(
                f"{checkpoint} is not signed; if you know where it comes from, "
                f"«python -m trainer models sign {checkpoint}»"
            )
        key_id, value = _parsed(checkpoint, signature)
        key = self._keys.get(key_id)
        if key is None:
            raise UntrustedError(
                f"{checkpoint} is signed with key {key_id}, which {PREFIX}TRUSTED_KEYS does not "
                "hold"
            )
        try:
            key.verify(value, _message(checkpoint, manifest))
        except InvalidSignature:
            raise UntrustedError(
                f"{checkpoint} is not what key {key_id} signed: somebody has changed it"
            ) from None
        return key_id


@cache
def _bundled_pins() -> Mapping[str, str]:
    """The sha256 of the manifest of each bundled checkpoint, by id."""
    lines = (line.split() for line in _PINS.read_text(encoding="utf-8").splitlines())
    return {path.partition("/")[0]: digest for digest, path in lines}


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a key in it is not an Ed25519 public key in PEM")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    """What a key is known by: the start of its sha256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_KEY_ID_HEX]


def _message(checkpoint: str, manifest: bytes) -> bytes:
    """What is signed; neither of the first two lines can hold a line's end."""
    return b"\n".join((_CONTEXT, checkpoint.encode(), manifest))


def _parsed(checkpoint: str, signature: bytes) -> tuple[str, bytes]:
    """The id of the key, and the signature itself."""
    try:
        key_id, value = signature.decode("ascii").split()
        return key_id, base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise UntrustedError(f"the signature of {checkpoint} cannot be read") from None
