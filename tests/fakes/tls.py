"""A certificate authority, and doors with a lock before servers that have none of their own."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
_DAY = timedelta(days=1)
_POSTGRES_ASKS_FOR_TLS = bytes.fromhex("00000008 04d2162f")

Greet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Papers:
    """A certificate and its key."""

    certificate: Path
    """PEM."""
    key: Path
    """PEM, without a password."""


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._name = folder, _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=0)
        own = _draft(self._name, self._name, self._key).add_extension(basic, critical=True)
        self.file = folder / f"{name}.pem"
        """Its own certificate, for whoever shall trust it."""
        self._write(self.file, own.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, *, host: str = HOST) -> Papers:
        """A certificate for an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        issued = _draft(_name(name), self._name, key).add_extension(addresses, critical=False)
        papers = Papers(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        self._write(papers.certificate, issued.sign(self._key, hashes.SHA256()))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        papers.key.write_bytes(pem)
        return papers

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(Encoding.PEM))


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _draft(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=name, issuer_name=issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


@asynccontextmanager
async def locked_door(
    socket: Path, papers: Papers, *, clients: Authority | None = None, greet: Greet | None = None
) -> AsyncIterator[int]:
    """A port at which the server behind `socket` is spoken to by TLS.

    Whoever comes needs a certificate of `clients`, if that is said. `greet` speaks before TLS does.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(papers.certificate, papers.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if greet is not None:
                await greet(reader, writer)
            await writer.start_tls(context)
            inner_reader, inner_writer = await asyncio.open_unix_connection(socket)
            await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(welcome, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def greet_as_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say that TLS is spoken to whoever asks for it; nobody else is let in."""
    if await reader.readexactly(8) != _POSTGRES_ASKS_FOR_TLS:
        raise ConnectionRefusedError
    writer.write(b"S")


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
