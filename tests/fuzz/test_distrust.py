"""Files made to do harm: each is refused, in one line, before it does any."""

from __future__ import annotations

import pickle
import struct
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.plain_yaml import LARGEST, parse_yaml, read_yaml
from dara_ros.policies import runtime
from dara_ros.policies.dataset import DataSet, DataSetWriter
from dara_ros.policies.runtime import Policy
from tests.fuzz.data_sets import INFO, A, S

ROWS = 30


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


# -- data sets ----------------------------------------------------------------------------------------------


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "data.h5"
    with DataSetWriter(path, INFO) as writer:
        flags = np.zeros(ROWS, bool)
        writer.extend(np.ones((ROWS, S)), np.ones((ROWS, A)), np.ones(ROWS), np.ones((ROWS, S)), flags, flags)
    return path


def test_rows_that_were_declared_and_never_written(data_file: Path) -> None:
    """HDF5 would make them up, 10^12 of them."""
    for packing in ({}, {"compression": "gzip"}):
        with h5py.File(data_file, "r+") as file:
            file["meta/committed_rows"][()] = 10**12
            for name in ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts"):
                width, kind = file[name].shape[1:], file[name].dtype
                del file[name]
                file.create_dataset(name, (10**12, *width), kind, chunks=(1024, *width), **packing)
        with pytest.raises(UserError, match="more than a file of this size can hold"):
            DataSet(data_file)


def test_a_chunk_that_would_fill_the_memory(data_file: Path) -> None:
    with h5py.File(data_file, "r+") as file:
        del file["rewards"]
        file.create_dataset("rewards", (ROWS,), "f4", chunks=(2**28,), maxshape=(None,), compression="gzip")
    with pytest.raises(UserError, match="more than"):
        DataSet(data_file)


@pytest.mark.parametrize("way", ["external link", "external storage", "virtual"])
def test_a_column_that_lies_in_another_file(data_file: Path, tmp_path: Path, way: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["rewards"] = np.ones(ROWS, "f4")
    with h5py.File(data_file, "r+") as file:
        del file["rewards"]
        if way == "external link":
            file["rewards"] = h5py.ExternalLink(str(secret), "/rewards")
        elif way == "external storage":
            file.create_dataset("rewards", (ROWS,), "f4", external=[(str(secret), 0, 4 * ROWS)])
        else:
            layout = h5py.VirtualLayout((ROWS,), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "rewards", (ROWS,))
            file.create_virtual_dataset("rewards", layout)
    with pytest.raises(UserError, match="lies in another file|lacks 'rewards'"):
        DataSet(data_file)


def test_a_column_of_objects(data_file: Path) -> None:
    with h5py.File(data_file, "r+") as file:
        file["infos/notes"] = np.array(["a"] * ROWS, h5py.string_dtype())
    with pytest.raises(UserError, match="holds no numbers"):
        DataSet(data_file)


def test_a_heap_of_strings_without_end(data_file: Path) -> None:
    content = bytearray(data_file.read_bytes())
    place = content.index(b"GCOL") + 16
    while (number := struct.unpack_from("<H", content, place)[0]) != 0:
        assert number < 100
        place += 16 + -(-struct.unpack_from("<Q", content, place + 8)[0] // 8) * 8
    content[place + 8 : place + 16] = bytes(8)  # the free space at its end
    data_file.write_bytes(content)
    with pytest.raises(UserError, match="does not end"):
        DataSet(data_file)


# -- policies -----------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    pytest.importorskip("onnx")
    from tests.fuzz.policies import model

    return model(np.random.default_rng(0))


def test_a_policy_without_fault_is_accepted(model, tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
    assert Policy.load(tmp_path / "p.onnx").metadata.robot == "a1"


def test_weights_in_another_file(model, tmp_path: Path) -> None:
    """onnxruntime itself reads them where they lie in the policy's own folder."""
    weights = model.graph.initializer[0]
    (tmp_path / "secret").write_bytes(weights.raw_data)
    weights.raw_data, weights.data_location = b"", 1
    weights.external_data.add(key="location", value="secret")
    (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="keeps its weights in another file"):
        Policy.load(tmp_path / "p.onnx")


def test_a_policy_that_never_ends(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    graph.node[0].output[0] = "product"
    graph.node.append(helper.make_node("Loop", ["often", "yes", "product"], ["action"], body=body))
    graph.initializer.extend(
        [numpy_helper.from_array(np.int64(2**62), "often"), numpy_helper.from_array(np.bool_(True), "yes")]
    )
    (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr(runtime, "LONGEST_CHECK", 0.2)
    begin = time.monotonic()
    with pytest.raises(UserError, match="cannot be run"):
        Policy.load(tmp_path / "p.onnx")
    assert time.monotonic() - begin < 60  # and not 2^62 rounds


def test_a_policy_that_is_too_large(tmp_path: Path) -> None:
    with open(tmp_path / "p.onnx", "wb") as file:
        file.truncate(runtime.LARGEST_FILE + 1)
    with pytest.raises(UserError, match="larger than"):
        Policy.load(tmp_path / "p.onnx")


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from dara_ros.policies.run_files import load_tensors

    trace = tmp_path / "trace"
    torch.save({"networks": Payload(trace)}, tmp_path / "c.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(trace)))
    for name in ("c.pt", "plain.pt"):
        with pytest.raises(UserError, match="not a checkpoint"):
            load_tensors(tmp_path / name)
    assert not trace.exists()
    torch.load(tmp_path / "c.pt", weights_only=False)
    assert trace.exists(), "the payload does nothing: the test could not fail"


# -- YAML ---------------------------------------------------------------------------------------------------


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(UserError, match="not YAML"):
        parse_yaml(
            f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{trace}']]", "x"
        )
    assert not trace.exists()


@pytest.mark.parametrize(
    "text", ["a: &a [1]\nb: *a", "[" * 10_000, "2001-99-99", "9" * 5000, "x" * (LARGEST + 1)]
)
def test_yaml_that_unfolds_or_does_not_end(text: str) -> None:
    with pytest.raises(UserError, match="^mine"):
        parse_yaml(text, "mine")


def test_yaml_without_end_is_not_read() -> None:
    with pytest.raises(UserError, match="longer than"):
        read_yaml(Path("/dev/zero"))
