"""What a metric says of each sample, packed: which were right, or a value each.

Right or wrong is a bit a sample, or, where one of the two is rare, the distances between those
samples; whichever is shorter. A thousand samples of which 20 are wrong take 28 characters, a
thousand at chance 168. Both are the same bytes everywhere, which a compressor's output is not.

Which samples they are tells a hash of each, once for all that was evaluated on the same ones.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SAMPLES = 100_000_000
UNKNOWN = ""
"""The digest of samples that can't be told from others."""
_FLOATS = np.dtype("<f4")
_HASHES = np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class Samples:
    """What one metric was evaluated on and, where it judges sample by sample, how each fared.

    `dataset` is a digest of the samples that were evaluated, in their order. `outcomes` is a
    boolean array (count,), `values` a float32 array (count,); None for other metrics. `hashes`
    (count,) tell which samples they are, None where that was not kept.
    """

    dataset: str
    count: int
    share: bool
    higher_is_better: bool
    outcomes: NDArray[np.bool_] | None = None
    values: NDArray[np.float32] | None = None
    hashes: NDArray[np.uint32] | None = None


def _varints(numbers: NDArray[Any]) -> bytes:
    """Whole numbers in groups of seven bits, the least first; the eighth bit: more follow."""
    packed = bytearray()
    for number in numbers.tolist():
        while number > 127:
            packed.append(number & 127 | 128)
            number >>= 7
        packed.append(number)
    return bytes(packed)


def _numbers(packed: bytes) -> list[int]:
    found, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(number)
            number = shift = 0
        elif shift > 63:
            raise ValueError("a number is too long")
    if shift:
        raise ValueError("the last number is cut off")
    return found


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _pack_outcomes(outcomes: NDArray[np.bool_]) -> dict[str, str]:
    bits = np.packbits(outcomes).tobytes()
    rare = bool(2 * int(outcomes.sum()) <= len(outcomes))
    gaps = np.diff(np.flatnonzero(outcomes == rare), prepend=-1) - 1
    listed = _varints(gaps) if len(gaps) < len(bits) else bits
    if len(listed) < len(bits):
        return {"right" if rare else "wrong": _text(listed)}
    return {"bits": _text(bits)}


def pack(samples: Samples) -> dict[str, Any]:
    """The samples as JSON has them."""
    packed: dict[str, Any] = {
        "dataset": samples.dataset,
        "count": samples.count,
        "share": samples.share,
        "higher_is_better": samples.higher_is_better,
    }
    if samples.outcomes is not None:
        packed |= _pack_outcomes(samples.outcomes)
    elif samples.values is not None:
        packed["values"] = _text(samples.values.astype(_FLOATS).tobytes())
    return packed


def _raw(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"expected base64, got {type(value).__name__}")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64") from None


def _listed(raw: bytes, count: int, value: bool) -> NDArray[np.bool_]:
    outcomes = np.full(count, not value)
    position = -1
    for gap in _numbers(raw):
        position += gap + 1
        if position >= count:
            raise ValueError(f"sample {position} of {count}")
        outcomes[position] = value
    return outcomes


def shortened(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The hashes of samples as a baseline keeps them.

    Four bytes a sample are what the file can bear: of 100,000 samples that another dataset does not
    have, two or three are taken for ones that it has.
    """
    return hashes.astype(np.uint32)


def pack_hashes(hashes: NDArray[np.uint32]) -> str:
    """The hashes of a dataset's samples, in their order."""
    return _text(hashes.astype(_HASHES).tobytes())


def unpack_hashes(packed: Any) -> NDArray[np.uint32]:
    """The hashes from what `pack_hashes` gave; raises `ValueError` for anything else."""
    raw = _raw(packed)
    if len(raw) % _HASHES.itemsize:
        raise ValueError(f"{len(raw)} bytes of hashes")
    return np.frombuffer(raw, _HASHES).astype(np.uint32)


def unpack(packed: Mapping[str, Any], hashes: NDArray[np.uint32] | None = None) -> Samples:
    """The samples from what `pack` gave; raises `ValueError` for anything else.

    `hashes` are those of its dataset.
    """
    expected = {"dataset", "count", "share", "higher_is_better"}
    missing = expected - set(packed)
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} is missing")
    count, dataset = packed["count"], packed["dataset"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MOST_SAMPLES:
        raise ValueError(f"count is {count!r}")
    if not isinstance(dataset, str):
        raise ValueError(f"dataset is {dataset!r}")
    if not isinstance(packed["share"], bool) or not isinstance(packed["higher_is_better"], bool):
        raise ValueError("share and higher_is_better are true or false")
    outcomes = values = None
    if "bits" in packed:
        raw = _raw(packed["bits"])
        if len(raw) != -(-count // 8):
            raise ValueError(f"{len(raw)} bytes of bits for {count} samples")
        outcomes = np.unpackbits(np.frombuffer(raw, np.uint8), count=count).astype(np.bool_)
    elif "right" in packed or "wrong" in packed:
        value = "right" in packed
        outcomes = _listed(_raw(packed["right" if value else "wrong"]), count, value)
    elif "values" in packed:
        raw = _raw(packed["values"])
        if len(raw) != count * _FLOATS.itemsize:
            raise ValueError(f"{len(raw)} bytes of values for {count} samples")
        values = np.frombuffer(raw, _FLOATS)
        if not np.isfinite(values).all():
            raise ValueError("values that are not finite")
    if hashes is not None and len(hashes) != count:
        raise ValueError(f"{len(hashes)} hashes for {count} samples")
    share, higher = packed["share"], packed["higher_is_better"]
    return Samples(dataset, count, share, higher, outcomes, values, hashes)
