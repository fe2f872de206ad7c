"""JavaScript that isn't byte for byte what was reviewed never gets into static/vendor/."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import vendor_js


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A wheel's content, right in every file."""
    for script in vendor_js.SCRIPTS:
        file = tmp_path / "wheel" / script.source
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((vendor_js.TARGET / script.name).read_bytes())
    return tmp_path / "wheel"


def test_what_was_reviewed_is_copied(unpacked: Path, tmp_path: Path) -> None:
    vendor_js.copy_checked(unpacked, tmp_path / "vendor")
    assert sorted(file.name for file in (tmp_path / "vendor").iterdir()) == ["htmx.min.js", "ws.min.js"]


def test_one_changed_byte_and_nothing_is_written(unpacked: Path, tmp_path: Path) -> None:
    with (unpacked / vendor_js.SCRIPTS[-1].source).open("ab") as file:
        file.write(b" ")
    with pytest.raises(vendor_js.WrongContent):
        vendor_js.copy_checked(unpacked, tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_integrity_is_what_browsers_compute() -> None:
    # The example of the Subresource Integrity specification.
    expected = "sha384-H8BRh8j48O9oYatfu5AZzq6A9RINhZO5H16dQZngK7T62em8MUt1FLm52t+eX6xO"
    assert vendor_js.integrity(b"alert('Hello, world.');") == expected
