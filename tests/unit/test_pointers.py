"""Files that Git LFS has not fetched: a pointer stands in their place, and is named as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant import assert_deployable, convert
from pytest_edgequant.errors import DocumentError, ModelError
from pytest_edgequant.pointers import pointer_reason
from pytest_edgequant.results.documents import parse_document

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 15728\n"
)


def assert_named(message: str, place: str) -> None:
    assert place in message
    assert "is a Git LFS pointer, not the file of 15,728 bytes itself" in message
    assert "`git lfs pull`" in message


@pytest.mark.parametrize("name", ["kws.tflite", "kws.keras", "kws.h5", "kws.hdf5", "kws.bin"])
@pytest.mark.parametrize("content", [POINTER, POINTER.replace(b"\n", b"\r\n")])
def test_a_pointer_for_a_model_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for asked in (
        lambda: convert(path, "as_is"),
        lambda: convert(str(path), "float32"),
        lambda: assert_deployable(path, "nano33ble"),
    ):
        with pytest.raises(ModelError) as caught:
            asked()
        assert_named(str(caught.value), name)


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_pointer_within_a_saved_model_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ModelError) as caught:
        convert(tmp_path, "float32")
    assert_named(str(caught.value), name)


def test_bytes_and_documents_that_are_pointers_are_named() -> None:
    with pytest.raises(ModelError) as caught:
        convert(POINTER, "as_is")
    assert_named(str(caught.value), "bytes")
    with pytest.raises(DocumentError) as told:
        parse_document(POINTER, "baseline.json", {"edgequant-baseline": 1})
    assert_named(str(told.value), "baseline.json")


def test_a_pointer_of_the_older_name_or_without_a_size_is_one() -> None:
    assert pointer_reason(POINTER.replace(b"git-lfs.github", b"hawser.github")) is not None
    bare = pointer_reason(POINTER.split(b"size")[0])
    assert bare is not None
    assert "not the file itself: fetch it" in bare


@given(st.binary(max_size=300))
def test_nothing_else_is_a_pointer(content: bytes) -> None:
    assert pointer_reason(content) is None
    assert pointer_reason(b" " + POINTER) is None
    assert pointer_reason(POINTER + bytes(1024)) is None
