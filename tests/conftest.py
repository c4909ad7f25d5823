"""The fixtures that tests of more than one folder share."""

import ssl

import pytest
import trustme
from hypothesis import HealthCheck, settings
from support.tools import container_engine

# An example may take as long as it does on a busy machine; by default it has 0.2 seconds.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The certificate authority of this run of the tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """For REQUESTS_CA_BUNDLE."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A TLS server's context, with a certificate for these names by that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What X and a Grafana with https show: a certificate that REQUESTS_CA_BUNDLE trusts."""
    return server_context(authority, "127.0.0.1", "x.test", "grafana.test")


@pytest.fixture(scope="session")
def untrusted() -> ssl.SSLContext:
    """A certificate for the right host, by nobody that anybody knows."""
    return server_context(trustme.CA(), "127.0.0.1")


@pytest.fixture(scope="session")
def misnamed(authority: trustme.CA) -> ssl.SSLContext:
    """A trusted certificate for another host."""
    return server_context(authority, "elsewhere.test")


@pytest.fixture(scope="session")
def engine() -> str:
    """The program that builds and runs containers here."""
    return container_engine()
