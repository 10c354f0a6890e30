"""Checkpoints: complete, without pickle, and never half written."""

from __future__ import annotations

import pytest
import torch

from peerlearn import checkpoint
from peerlearn.checkpoint import Checkpoint, differences, load, save


def example(round: int = 3) -> Checkpoint:
    return Checkpoint(
        round=round,
        configuration={"algorithm": "DSGD", "settings": {"lr": 0.1, "clip": None}},
        seconds={"total": 1.25},
        state={
            "theta": torch.randn(3, 4, dtype=torch.float64),
            "moments.step": torch.ones(3, 1),
            "seen": torch.tensor([True, False, True]),
        },
        learner={"drawn": torch.tensor([1, 2, 2**40]), "buffer.1.running_mean": torch.zeros(3, 0)},
        traffic={"bytes_sent": torch.tensor([7, 8, 9])},
    )


def alike(first: Checkpoint, second: Checkpoint) -> None:
    assert (first.round, first.configuration, first.seconds) == (
        second.round, second.configuration, second.seconds,
    )  # fmt: skip
    for part in checkpoint.PARTS:
        one, other = getattr(first, part), getattr(second, part)
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == other[name].dtype
            assert torch.equal(value, other[name]), name


def test_what_is_saved_is_loaded(tmp_path):
    kept = example()
    save(tmp_path / checkpoint.FILE_NAME, kept)
    alike(load(tmp_path / checkpoint.FILE_NAME), kept)
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE_NAME]


def test_tensors_that_do_not_lie_in_one_piece_are_saved(tmp_path):
    kept = example()
    kept.state["theta"] = torch.randn(4, 3).T
    save(tmp_path / "c", kept)
    assert torch.equal(load(tmp_path / "c").state["theta"], kept.state["theta"])


@pytest.mark.parametrize("moment", ["checkpoint.save_file", "files.os.fsync", "files.os.replace"])
def test_a_crash_while_writing_leaves_the_previous_one(tmp_path, monkeypatch, moment):
    path = tmp_path / checkpoint.FILE_NAME
    first = example(1)
    save(path, first)

    def half(tensors, target, metadata):
        target.write_bytes(path.read_bytes()[:100])
        raise OSError("no space left on device")

    def crash(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        fails = half if moment == "checkpoint.save_file" else crash
        patch.setattr(f"peerlearn.{moment}", fails)
        with pytest.raises(OSError, match="no space"):
            save(path, example(2))
    alike(load(path), first)
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE_NAME]
    third = example(3)
    save(path, third)
    alike(load(path), third)


def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / checkpoint.FILE_NAME
    save(path, example())
    whole = path.read_bytes()
    for length in (0, 4, 8, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"no readable checkpoint .*; remove .* to train this"):
            load(path)


@pytest.mark.parametrize("content", [b"not a checkpoint at all, but text", b"\0" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load(tmp_path / "c")


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"theta": torch.ones(1)}, None),
        ({"state.theta": torch.ones(1)}, None),
        ({"state.theta": torch.ones(1)}, {"round": "3 of 9"}),
        ({"state.theta": torch.ones(1)}, {"round": "3", "configuration": "", "seconds": "{}"}),
    ],
)
def test_a_safetensors_file_of_another_program_is_refused(tmp_path, tensors, metadata):
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "c", metadata)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load(tmp_path / "c")


def test_long_values_are_not_written_out():
    edges = [[i, i + 1] for i in range(1000)]
    assert differences({"edges": edges}, {"edges": [*edges, [0, 5]]}) == ["edges has changed"]
    (only,) = differences({"text": "a" * 500}, {"text": "b" * 500})
    assert only.startswith("text was 'aaa")
    assert len(only) < 160


def test_differences_name_what_differs():
    old = {"a": 1, "settings": {"lr": 0.1, "rho": 2}, "same": [1, 2], "gone": "x", "graph": {}}
    new = {"a": 2, "settings": {"lr": 0.1, "rho": 3}, "same": [1, 2], "graph": None}
    assert differences(old, new) == [
        "a was 1 and is now 2",
        "gone was 'x' and is now None",
        "graph was {} and is now None",
        "settings.rho was 2 and is now 3",
    ]
    assert differences(new, old)[1:3] == [
        "gone was None and is now 'x'",
        "graph was None and is now {}",
    ]
    deep = [{"task": {"data": {"seed": seed}}} for seed in (1, 2)]
    assert differences(*deep) == ["task.data.seed was 1 and is now 2"]
    assert differences(old, old) == []
