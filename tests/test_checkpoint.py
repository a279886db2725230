"""Fits that are stopped and go on: the same bits, or a refusal."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.checkpoint import Checkpoint, array_hash, remove_checkpoint
from geoquant.clustering.alternate import Step
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.tensor_files import HASH_KEY, content_hash, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]

OPTIONS: dict[str, Any] = {"random_state": 3, "n_init": 2, "n_jobs": 1}


class Stop(BaseException):
    """What stops a fit in these tests."""


@pytest.fixture(scope="module")
def latents() -> Float32Array:
    """Three hundred on a noisy ring, some twice."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 280)
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.05, (280, 2))
    return np.concatenate([x, x[:20]]).astype(np.float32)


def stopping_at(n_calls: int) -> Any:
    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls > n_calls:
            raise Stop

    return progress


def assert_same(first: gq.FittedCodebook, second: gq.FittedCodebook) -> None:
    assert b"".join(map(bytes, first.codebook.file_blocks())) == b"".join(
        map(bytes, second.codebook.file_blocks())
    )
    np.testing.assert_array_equal(first.codes, second.codes)
    assert first.clustering.inertia_history == second.clustering.inertia_history


@pytest.mark.parametrize("algorithm", ["auto", "alternate"])
def test_stopped_anywhere_it_goes_on_to_the_same_bits(
    latents: Float32Array, tmp_path: Path, algorithm: str
) -> None:
    """After each number of calls of progress; what is left in the folder grows, and then goes."""
    whole = gq.fit_codebook(latents, 7, algorithm=algorithm, **OPTIONS)
    left = set()
    for n_calls in range(0, 400, 3):
        folder = tmp_path / str(n_calls)
        kept: dict[str, Any] = {"checkpoint": folder, "algorithm": algorithm, **OPTIONS}
        try:
            fitted = gq.fit_codebook(latents, 7, progress=stopping_at(n_calls), **kept)
        except Stop:
            left.add(len(list(folder.iterdir())))
            fitted = gq.fit_codebook(latents, 7, resume=True, **kept)
        else:
            n_calls = 400
        assert_same(whole, fitted)
        assert not folder.exists()
        if n_calls == 400:
            break
    assert max(left) >= 2


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("n_clusters", 8),
        ("random_state", 4),
        ("codewords", "medoid"),
        ("n_neighbors", 5),
        ("n_init", 1),
        ("recall_target", 1.0),
        ("init", np.arange(7)),
        ("sample_weight", np.arange(1, 301)),
    ],
)
def test_checkpoint_of_other_parameters_is_refused(
    latents: Float32Array, tmp_path: Path, name: str, other: Any
) -> None:
    """With the name of what differs."""
    given: dict[str, Any] = {"n_clusters": 7, **OPTIONS}
    with pytest.raises(Stop):
        gq.fit_codebook(latents, progress=stopping_at(6), checkpoint=tmp_path, **given)
    with pytest.raises(InputError, match=f"is of a fit with {name} = "):
        gq.fit_codebook(latents, checkpoint=tmp_path, resume=True, **given | {name: other})


def test_checkpoint_of_other_latents_is_refused(latents: Float32Array, tmp_path: Path) -> None:
    """One changed number is enough; the same numbers in another layout are the same latents."""
    with pytest.raises(Stop):
        gq.fit_codebook(latents, 7, progress=stopping_at(6), checkpoint=tmp_path, **OPTIONS)
    other = latents.copy()
    other[0, 0] += 1e-3
    with pytest.raises(InputError, match="latents = "):
        gq.fit_codebook(other, 7, checkpoint=tmp_path, resume=True, **OPTIONS)
    same = np.asfortranarray(latents.astype(np.float64))
    gq.fit_codebook(same, 7, checkpoint=tmp_path, resume=True, **OPTIONS)


def test_numbers_of_numpy_are_the_same_parameters(latents: Float32Array, tmp_path: Path) -> None:
    """As when a sweep over np.arange goes on from a command's checkpoint."""
    kept: dict[str, Any] = {"checkpoint": tmp_path / "kept", **OPTIONS}
    first = gq.fit_codebook(latents, 7, n_neighbors=6, keep_checkpoint=True, **kept)
    again = gq.fit_codebook(latents, np.int64(7), n_neighbors=np.int8(6), resume=True, **kept)
    assert_same(first, again)


def test_wrong_ways_to_ask(latents: Float32Array, tmp_path: Path) -> None:
    """A seed is needed, and a folder to go on from; an old checkpoint is not overwritten."""
    with pytest.raises(InputError, match="random_state must be a number"):
        gq.fit_codebook(latents, 7, checkpoint=tmp_path)
    with pytest.raises(InputError, match="resume needs a checkpoint"):
        gq.fit_codebook(latents, 7, resume=True, random_state=0)
    with pytest.raises(Stop):
        gq.fit_codebook(latents, 7, progress=stopping_at(6), checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(InputError, match="go on from it with resume=True"):
        gq.fit_codebook(latents, 7, checkpoint=tmp_path, **OPTIONS)


def test_resume_without_anything_there_begins_anew(latents: Float32Array, tmp_path: Path) -> None:
    """So that one command can be given again and again; other files in the folder stay."""
    (tmp_path / "notes.txt").write_text("mine")
    kept = gq.fit_codebook(latents, 7, checkpoint=tmp_path, resume=True, **OPTIONS)
    assert_same(kept, gq.fit_codebook(latents, 7, **OPTIONS))
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_no_change_of_a_kept_stage_goes_unnoticed(tmp_path: Path) -> None:
    """Every truncation and every flipped bit of a file is refused."""
    checkpoint = Checkpoint(tmp_path, {"seed": 0})
    checkpoint.once("stage", ["value"], lambda: {"value": np.arange(3)})
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    changed = [content[:n] for n in range(len(content))]
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        changed.append(bytes(flipped))
    for damaged in changed:
        file.write_bytes(damaged)
        with pytest.raises(FileFormatError):
            Checkpoint(tmp_path, {"seed": 0}, resume=True).once("stage", ["value"], dict)


@pytest.mark.parametrize("identity", [None, "", "{", "[]", "1", "[" * 100_000])
@pytest.mark.parametrize("kind", ["geoquant-checkpoint", "geoquant-codebook"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, identity: str | None, kind: str) -> None:
    """Also with a right hash: one that does not say what it is of is no checkpoint."""
    texts = {"format": kind} | ({} if identity is None else {"identity": identity})
    path = tmp_path / "stage.checkpoint.safetensors"
    write_safetensors(path, {}, texts | {HASH_KEY: content_hash({}, texts)})
    with pytest.raises(FileFormatError, match="is no checkpoint of geoquant"):
        Checkpoint(tmp_path, {"seed": 0}, resume=True).once("stage", [], dict)


def test_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    """Also one whose state holds arrays."""
    for bits in (np.random.PCG64, np.random.MT19937):
        first, second = np.random.Generator(bits(0)), np.random.Generator(bits(9))

        def make(generator: np.random.Generator = first) -> Step:
            return Step(generator.integers(0, 9, 2).astype(np.int32), [2.0], 1, True)

        made = Checkpoint(tmp_path, {}).step("step", first, make)
        kept = Checkpoint(tmp_path, {}, resume=True)
        again = kept.step("step", second, make)
        assert made.centres.tolist() == again.centres.tolist()
        assert again[1:] == ([2.0], 1, True)
        assert first.random() == second.random()
        remove_checkpoint(tmp_path)


def test_hash_of_arrays() -> None:
    """None has one; another shape or dtype is another array."""
    assert array_hash(None) == "none"
    hashes = {array_hash(np.zeros(shape, kind)) for shape in (4, (2, 2)) for kind in ("f4", "f8")}
    assert len(hashes) == 4


def test_hashes_stay_what_they_are() -> None:
    """Another sum for the same array would make every checkpoint one of other data."""
    outline = '[[["array", "I8", [2]]], {}]'
    expected = hashlib.sha256(outline.encode() + b"\7\xff").hexdigest()
    assert array_hash(np.array([7, -1], np.int8)) == expected


def test_order_of_the_identity_does_not_show(tmp_path: Path) -> None:
    """The same fit keeps the same bytes."""
    for folder, identity in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        Checkpoint(tmp_path / folder, identity).once("stage", [], dict)
    (first,), (second,) = ((tmp_path / folder).iterdir() for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_folder_of_a_checkpoint_is_for_whoever_asks(tmp_path: Path) -> None:
    """One that holds a stage is not gone on from unless that is asked for."""
    Checkpoint(tmp_path / "a" / "b", {"seed": 0}).once("stage", [], dict)
    with pytest.raises(InputError, match=r"a/b' holds the checkpoint of a fit that was stopped"):
        Checkpoint(tmp_path / "a" / "b", {"seed": 0})


def test_header_that_was_written_by_others_is_refused(tmp_path: Path) -> None:
    """Also where it means the same: nothing in a file but what is checked."""
    Checkpoint(tmp_path, {"seed": 0}).once("stage", ["value"], lambda: {"value": np.arange(3)})
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    file.write_bytes(struct.pack("<Q", length + 8) + header + b" " * 8 + data)
    with pytest.raises(FileFormatError, match="remove it to do its stage anew") as caught:
        Checkpoint(tmp_path, {"seed": 0}, resume=True).once("stage", [], dict)
    assert "not written the way geoquant writes it" in str(caught.value.__cause__)


def test_identity_may_hold_what_json_can(tmp_path: Path) -> None:
    """Compared as JSON gives it back: a tuple is a list."""
    Checkpoint(tmp_path, {"stages": (1, 2)}).once("a", ["x"], lambda: {"x": np.zeros(1)})
    kept = Checkpoint(tmp_path, json.loads('{"stages": [1, 2]}'), resume=True)
    assert kept.once("a", ["x"], dict)["x"].tolist() == [0]


# ---------------------------------------------------------------------------------- forged files


def forge(folder: Path, stage: str, arrays: dict[str, Any], texts: dict[str, str]) -> None:
    """A stage with the right hash, which geoquant never wrote."""
    texts = {"format": "geoquant-checkpoint", "identity": "{}"} | texts
    path = folder / f"{stage}.checkpoint.safetensors"
    write_safetensors(path, arrays, texts | {HASH_KEY: content_hash(arrays, texts)})


@pytest.mark.parametrize(
    ("arrays", "texts"),
    [
        ({"other": np.zeros(1)}, {}),
        ({"x": np.zeros(1), "more": np.zeros(1)}, {}),
        ({"x": np.zeros(1)}, {"format": "geoquant-codebook"}),
        ({"x": np.zeros(1)}, {"identity": "{"}),
        ({"x": np.zeros(1)}, {"identity": "[]"}),
        ({"x": np.zeros(1)}, {"identity": "[" * 10_000}),
    ],
)
def test_forged_stages_are_refused(
    tmp_path: Path, arrays: dict[str, Any], texts: dict[str, str]
) -> None:
    """Other arrays than the stage has, another kind of file, no identity."""
    forge(tmp_path, "a", arrays, texts)
    with pytest.raises(FileFormatError, match="remove it to do its stage anew"):
        Checkpoint(tmp_path, {}, resume=True).once("a", ["x"], dict)


def test_stage_without_identity_is_refused(tmp_path: Path) -> None:
    """Its hash may be right all the same."""
    arrays, texts = {"x": np.zeros(1)}, {"format": "geoquant-checkpoint"}
    path = tmp_path / "a.checkpoint.safetensors"
    write_safetensors(path, arrays, texts | {HASH_KEY: content_hash(arrays, texts)})
    with pytest.raises(FileFormatError, match="no checkpoint of geoquant"):
        Checkpoint(tmp_path, {}, resume=True).once("a", ["x"], dict)


@pytest.mark.parametrize(
    "wrong",
    [
        {"generator": np.frombuffer(b"{", np.uint8)},
        {"generator": np.frombuffer(b"[1]", np.uint8)},
        {"generator": np.frombuffer(b'{"bit_generator": "MT19937"}', np.uint8)},
        {"generator": np.frombuffer(b'{"bit_generator": "PCG64"}', np.uint8)},
        {"n_rounds": np.zeros(2)},
    ],
)
def test_forged_steps_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A state of no generator, or of another kind; a number that is two."""
    generator = np.random.default_rng(0)
    state = np.frombuffer(json.dumps(generator.bit_generator.state).encode(), np.uint8)
    whole: dict[str, Any] = {
        "centres": np.zeros(1, np.int32),
        "energy_history": np.zeros(1),
        "n_rounds": np.array(1),
        "is_converged": np.array(True),
        "generator": state,
    }
    forge(tmp_path, "a", whole | wrong, {})
    with pytest.raises(FileFormatError, match="remove it to do its stage anew"):
        Checkpoint(tmp_path, {}, resume=True).step("a", generator, lambda: Step(*[None] * 4))  # type: ignore[arg-type]


# --------------------------------------------------------------------------------- several stages


@pytest.mark.parametrize("options", [{}, {"metric": "euclidean"}, {"kind": "product"}])
def test_stages_go_on_to_the_same_bits(
    latents: Float32Array, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Stopped after each number of calls of progress; a part that was done is not done again."""
    given: dict[str, Any] = {"n_refits": 2, "random_state": 5, "n_jobs": 1, **options}
    whole = gq.fit_multistage(latents, 5, 2, **given)
    for n_calls in range(0, 100, 4):
        folder = tmp_path / str(n_calls)
        kept: dict[str, Any] = {"checkpoint": folder, **given}
        try:
            fitted = gq.fit_multistage(latents, 5, 2, progress=stopping_at(n_calls), **kept)
        except Stop:
            fitted = gq.fit_multistage(latents, 5, 2, resume=True, **kept)
        assert_same_stages(whole, fitted)
        assert not folder.exists()


def assert_same_stages(first: gq.FittedMultistage, second: gq.FittedMultistage) -> None:
    assert b"".join(map(bytes, first.codebook.file_blocks())) == b"".join(
        map(bytes, second.codebook.file_blocks())
    )
    np.testing.assert_array_equal(first.codes, second.codes)
    assert first.refit_distortion == second.refit_distortion


@pytest.mark.parametrize("metric", ["geodesic", "euclidean"])
def test_stages_of_another_seed_are_refused(
    latents: Float32Array, tmp_path: Path, metric: Any
) -> None:
    """And going on must be asked for, also of several stages; a seed is needed."""
    given: dict[str, Any] = {"metric": metric, "checkpoint": tmp_path / "kept"}
    gq.fit_multistage(latents, 5, 2, random_state=0, keep_checkpoint=True, **given)
    with pytest.raises(InputError, match="is of a fit with random_state = "):
        gq.fit_multistage(latents, 5, 2, random_state=1, resume=True, **given)
    with pytest.raises(InputError, match="go on from it with resume=True"):
        gq.fit_multistage(latents, 5, 2, random_state=0, **given)
    with pytest.raises(InputError, match="random_state must be a number"):
        gq.fit_multistage(latents, 5, 2, **given)
    remove_checkpoint(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_kept_checkpoint_makes_a_fit_again_without_work(
    latents: Float32Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is removed; removing it twice is no error, and other files stay."""
    kept: dict[str, Any] = {"checkpoint": tmp_path, "keep_checkpoint": True, **OPTIONS}
    first = gq.fit_codebook(latents, 7, **kept)
    monkeypatch.setattr("geoquant.fit._graph_of_fit", None)
    monkeypatch.setattr("geoquant.clustering.kmedoids.swap", None)
    assert_same(first, gq.fit_codebook(latents, 7, resume=True, **kept))
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        remove_checkpoint(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    remove_checkpoint(tmp_path / "nowhere")


def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is ResourceError for the folder as for the files in it."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("geoquant.checkpoint.os.makedirs", fail)
    with pytest.raises(ResourceError, match="new: cannot be written, No space left"):
        Checkpoint(tmp_path / "new", {})
