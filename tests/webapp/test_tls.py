"""The certificate that the server shows: what it makes, what it refuses, and what it says to agents and browsers of it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests import certificates
from tests.world import World
from webapp import tls
from webapp.config import Settings, SettingsError, load
from webapp.workers.join_pages import Way


def settings_with(folder: Path, **environ: str) -> Settings:
    return load({"GSW_INSTANCE_PATH": str(folder / "instance"), **environ})


def of_our_own(folder: Path, **environ: str) -> Settings:
    return settings_with(folder, TLS="self", **environ)


def served(settings: Settings) -> x509.Certificate:
    """What a start with these settings would show."""
    tls.prepare(settings)
    assert settings.certificate_files is not None
    return x509.load_pem_x509_certificate(settings.certificate_files[0].read_bytes())


def refusal(folder: Path, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        tls.prepare(settings_with(folder, **environ))
    line = str(caught.value)
    assert "\n" not in line
    return line


def files(pair: certificates.Pair) -> dict[str, str]:
    return {"TLS_CERT": str(pair.cert_file), "TLS_KEY": str(pair.key_file)}


# ---- a certificate of our own making


def test_it_names_every_way_to_call_this_server(tmp_path: Path) -> None:
    settings = of_our_own(tmp_path, HOST="192.0.2.7", GSW_PUBLIC_URL="https://garage.example:8443")
    names = served(settings).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert {"localhost", "garage.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1", "192.0.2.7"} <= addresses


@pytest.mark.parametrize("name", ["a..b" + "x" * 80, "ü" * 32, "\udcfc" * 64, ""])
def test_a_machine_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    monkeypatch.setattr("socket.getfqdn", lambda: "bücher_1.lan")
    assert "xn--bcher_1-n2a.lan" in tls.names(of_our_own(tmp_path))
    served(of_our_own(tmp_path))


def test_listening_everywhere_is_no_name(tmp_path: Path) -> None:
    assert not {"0.0.0.0", "::"} & set(tls.names(of_our_own(tmp_path, HOST="0.0.0.0")))
    assert not {"0.0.0.0", "::"} & set(tls.names(of_our_own(tmp_path, HOST="::")))


def test_nobody_else_can_read_its_key(tmp_path: Path) -> None:
    settings = of_our_own(tmp_path)
    tls.prepare(settings)
    assert settings.certificate_files is not None
    _, key = settings.certificate_files
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_it_stays_the_same_also_when_the_address_changes(tmp_path: Path) -> None:
    first = served(of_our_own(tmp_path))
    assert served(of_our_own(tmp_path, HOST="0.0.0.0", PORT="9443")) == first


def test_one_that_is_over_is_made_anew(tmp_path: Path) -> None:
    settings = of_our_own(tmp_path)
    first = served(settings)
    old = certificates.make(tmp_path, "old", days=-1)
    assert settings.certificate_files is not None
    for kept, file in zip((old.cert_file, old.key_file), settings.certificate_files, strict=True):
        file.write_bytes(kept.read_bytes())
    assert served(settings) not in (first, old.certificate)


def test_a_crash_while_it_is_made_leaves_nothing_that_stops_the_next_start(tmp_path: Path) -> None:
    settings = of_our_own(tmp_path)
    first = served(settings)
    assert settings.certificate_files is not None
    settings.certificate_files[0].unlink()
    assert served(settings) != first


def test_a_new_one_is_made_when_somebody_asks(new_world: Callable[..., World]) -> None:
    app = new_world(tls="self").app
    settings: Settings = app.config["SETTINGS"]
    first = served(settings)
    answer = app.test_cli_runner().invoke(args=["renew-certificate"])
    assert answer.exit_code == 0, answer.output
    assert settings.certificate_files is not None
    assert answer.output.splitlines()[-1] == tls.fingerprint(settings.certificate_files[0])
    assert served(settings) != first


def test_a_certificate_of_ones_own_is_not_ours_to_renew(world: World) -> None:
    answer = world.app.test_cli_runner().invoke(args=["renew-certificate"])
    assert answer.exit_code == 1
    assert "only with TLS=self" in answer.output


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "tls").write_text("in the way")
    assert "tls/certificate.pem can't be written" in refusal(tmp_path, TLS="self")


# ---- files of the person's own


def test_files_of_ones_own_are_served_as_they_are(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "own")
    assert served(settings_with(tmp_path, **files(pair))) == pair.certificate


def test_the_first_certificate_of_a_chain_is_the_servers_own(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "own", authority)
    pair.cert_file.write_bytes(pair.cert_file.read_bytes() + authority.cert_file.read_bytes())
    settings = settings_with(tmp_path, **files(pair))
    tls.prepare(settings)
    assert tls.fingerprint(pair.cert_file) == pair.pin


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TLS": "on"}, "TLS='on': must be self"),
        ({"TLS_CERT": "/x.pem"}, "TLS_CERT needs TLS_KEY"),
        ({"TLS_KEY": "/x.key"}, "TLS_KEY needs TLS_CERT"),
        ({"TLS": "self", "TLS_CERT": "/x.pem", "TLS_KEY": "/x.key"}, "one or the other"),
        ({"TLS": "self", "GSW_PUBLIC_URL": "http://garage.example"}, "must start with https://"),
        ({"TLS_CERT": "/nowhere.pem", "TLS_KEY": "/nowhere.key"}, "certificate /nowhere.pem can't be read"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, environ: dict[str, str], said: str
) -> None:
    assert said in refusal(tmp_path, **environ)


def test_files_that_cannot_be_served_are_refused_each_with_its_reason(tmp_path: Path) -> None:
    pair, other = certificates.make(tmp_path, "own"), certificates.make(tmp_path, "other")
    over = certificates.make(tmp_path, "over", days=-3)
    prose = tmp_path / "prose.pem"
    prose.write_text("no certificate")
    locked = tmp_path / "locked.key"
    password = BestAvailableEncryption(b"secret")
    locked.write_bytes(pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))
    own = files(pair)
    for changed, said in (
        ({"TLS_KEY": str(other.key_file)}, "doesn't belong to the certificate"),
        ({"TLS_KEY": str(tmp_path / "nowhere")}, "nowhere can't be read"),
        ({"TLS_KEY": str(prose)}, "holds no key in PEM form"),
        ({"TLS_KEY": str(locked)}, "without a password"),
        ({"TLS_CERT": str(prose)}, "holds no certificate in PEM form"),
        ({"TLS_CERT": str(tmp_path)}, "can't be read"),
        (files(over), "expired on"),
    ):
        assert said in refusal(tmp_path, **{**own, **changed})


# ---- what others are told


def test_an_agent_pins_what_no_authority_vouches_for(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path, "authority")
    ours, itself = of_our_own(tmp_path), certificates.make(tmp_path, "itself")
    tls.prepare(ours)
    assert tls.shown_pin(ours).startswith("sha256:")
    assert tls.shown_pin(settings_with(tmp_path, **files(itself))) == itself.pin
    signed = certificates.make(tmp_path, "signed", authority)
    assert tls.shown_pin(settings_with(tmp_path, **files(signed))) == ""
    assert tls.shown_pin(settings_with(tmp_path)) == ""


def test_behind_a_proxy_its_certificate_is_the_one_that_agents_see(tmp_path: Path) -> None:
    settings = of_our_own(tmp_path, GSW_TRUSTED_PROXIES="1")
    tls.prepare(settings)
    assert tls.shown_pin(settings) == ""


@pytest.mark.parametrize(
    ("origin", "pin", "options"),
    [
        ("http://127.0.0.1:8000", "", []),
        ("http://garage.lan:8000", "", ["--insecure"]),
        ("https://garage.lan:8000", "sha256:ab", ["--pin", "sha256:ab"]),
        ("https://garage.example", "", []),
    ],
)
def test_the_line_to_paste_says_what_the_way_needs(origin: str, pin: str, options: list[str]) -> None:
    assert Way(origin, is_loopback_only=False, pin=pin).options == options


@pytest.fixture
def self_signed_world(new_world: Callable[..., World], tmp_path: Path) -> World:
    pair = certificates.make(tmp_path, "itself")
    return new_world(tls_cert=pair.cert_file, tls_key=pair.key_file)


def test_a_browser_may_go_on_accepting_a_certificate_of_our_own(self_signed_world: World) -> None:
    answer = self_signed_world.browser().get("/login", base_url="https://localhost")
    assert "Strict-Transport-Security" not in answer.headers
    assert all("Secure" in cookie for cookie in answer.headers.getlist("Set-Cookie"))


def test_where_an_authority_vouches_browsers_insist_on_https(
    new_world: Callable[..., World], tmp_path: Path
) -> None:
    pair = certificates.make(tmp_path, "signed", certificates.make(tmp_path, "authority"))
    world = new_world(tls_cert=pair.cert_file, tls_key=pair.key_file)
    answer = world.browser().get("/login", base_url="https://localhost")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
