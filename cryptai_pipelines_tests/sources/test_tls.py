"""The same client over TLS, as every real venue is called: whole answers, deadlines and certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import time
from pathlib import Path

import pytest

from cryptai_pipelines.sources.errors import Permanent, Transient
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import json_answer

ANSWER = json_answer({"serverTime": 42, "padding": "x" * 300})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh self-signed certificate of 127.0.0.1 with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test venue")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "venue.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authorities that the client trusts are this certificate alone."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_answers_come_whole_over_one_connection(tls: ssl.SSLContext, open_at) -> None:
    with fakes.serving(lambda _: ANSWER, tls) as server:
        source = open_at(server.url)
        assert [source.server_time() for _ in range(3)] == [42, 42, 42]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("script", [fakes.hang_after(ANSWER, 30), fakes.drip(ANSWER, 0.05, start=40)], ids=["hang", "drip"])
def test_a_call_ends_at_its_deadline(script: fakes.Script, tls: ssl.SSLContext, open_at) -> None:
    with fakes.serving(lambda _: script, tls) as server:
        started = time.monotonic()
        with pytest.raises(Transient, match=r"no complete answer within 0\.4 s"):
            open_at(server.url, 0.4, tries=1).server_time()
        assert time.monotonic() - started <= 1.4


@pytest.mark.usefixtures("trusted")
def test_a_cut_is_transient(tls: ssl.SSLContext, open_at) -> None:
    with fakes.serving(lambda _: fakes.cut_after(ANSWER, 150), tls) as server, pytest.raises(Transient):
        open_at(server.url, tries=1).server_time()


def test_a_certificate_that_nobody_vouches_for_is_refused_once(tls: ssl.SSLContext, open_at) -> None:
    with fakes.serving(lambda _: ANSWER, tls) as server:
        with pytest.raises(Permanent, match="certificate"):
            open_at(server.url, tries=3).server_time()
    assert server.requests == []


def test_a_handshake_that_never_answers_ends_at_the_deadline(open_at) -> None:
    with fakes.serving(lambda _: ANSWER) as server:  # Waits for the end of a plain request, which never comes.
        started = time.monotonic()
        with pytest.raises(Transient, match=r"no complete answer within 0\.4 s"):
            open_at(server.url.replace("http:", "https:"), 0.4, tries=1).server_time()
        assert time.monotonic() - started <= 1.4
