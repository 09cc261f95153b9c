"""The module that PyTorch and vLLM load by themselves."""

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = importlib.import_module("torch")
ops = importlib.import_module("vllm.lora.ops.torch_ops")

import pickaxe_torch_plugins as plugins  # noqa: E402 - torch and vLLM may be absent

pytestmark = pytest.mark.vision

NUM_ADAPTERS = 3
RELATIVE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Runs of rows that share an adapter, as the engine's metadata has them; -1 is no adapter.
runs = st.lists(st.tuples(st.integers(-1, NUM_ADAPTERS - 1), st.integers(1, 5)), min_size=1)
dtypes = st.sampled_from([torch.float32, torch.bfloat16])


def tensors(num_rows: int, width_in: int, width_out: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Inputs, matrices of three adapters as the engine stacks them, and something to add to."""
    generator = torch.Generator().manual_seed(num_rows * 1000 + width_in * 10 + width_out)
    inputs = torch.randn(num_rows, width_in, generator=generator, dtype=torch.float32)
    weights = torch.randn(NUM_ADAPTERS, 1, width_out, width_in, generator=generator)
    output = torch.randn(num_rows, width_out + 3, generator=generator)
    return inputs.to(dtype), weights.to(dtype), output.to(dtype)


def assert_equal_where_adapted(ours: Any, theirs: Any, before: Any, indices: Any) -> None:
    """vLLM's operators read row -1 as the last adapter; ours leave it alone."""
    adapted = indices >= 0
    bound = RELATIVE[ours.dtype]
    torch.testing.assert_close(ours[adapted], theirs[adapted], rtol=bound, atol=bound * 5)
    assert torch.equal(ours[~adapted], before[~adapted])


def by_sequence(sequences: list[tuple[int, int]]) -> tuple[tuple[Any, ...], Any]:
    """The arguments that vLLM's per-sequence operators have between output and scaling."""
    lengths = torch.tensor([n for _, n in sequences])
    adapters = torch.tensor([adapter for adapter, _ in sequences])
    starts = lengths.cumsum(0) - lengths
    longest, total = int(lengths.max()), int(lengths.sum())
    return (starts, lengths, adapters, len(sequences), longest, total), adapters.repeat_interleave(
        lengths
    )


@given(runs, st.integers(1, 40), st.integers(1, 16), dtypes)
@settings(deadline=None)
def test_shrink_equals_vllm(
    sequences: list[tuple[int, int]], width_in: int, rank: int, dtype: Any
) -> None:
    metadata, indices = by_sequence(sequences)
    inputs, weights, _ = tensors(len(indices), width_in, rank, dtype)
    before = torch.zeros(len(indices), rank)
    for name, arguments in (("bgmv_shrink", (indices,)), ("sgmv_shrink", metadata)):
        ours, theirs = before.clone(), before.clone()
        getattr(plugins, name)(inputs, weights, ours, *arguments, 0.25)
        getattr(ops, name)(inputs, weights, theirs, *arguments, 0.25)
        assert_equal_where_adapted(ours, theirs, before, indices)


@given(runs, st.integers(1, 16), st.integers(1, 40), dtypes, st.booleans())
@settings(deadline=None)
def test_expand_equals_vllm(
    sequences: list[tuple[int, int]], rank: int, width_out: int, dtype: Any, add: bool
) -> None:
    metadata, indices = by_sequence(sequences)
    inputs, weights, before = tensors(len(indices), rank, width_out, dtype)
    for name, arguments in (("bgmv_expand", (indices,)), ("sgmv_expand", metadata)):
        ours, theirs = before.clone(), before.clone()
        getattr(plugins, name)(inputs.float(), weights, ours, *arguments, add)
        getattr(ops, name)(inputs.float(), weights, theirs, *arguments, add)
        assert_equal_where_adapted(ours, theirs, before, indices)


@given(runs, st.integers(1, 16), st.integers(1, 40), dtypes, st.booleans())
@settings(deadline=None)
def test_expand_slice_equals_vllm(
    sequences: list[tuple[int, int]], rank: int, width: int, dtype: Any, add: bool
) -> None:
    metadata, indices = by_sequence(sequences)
    inputs, weights, before = tensors(len(indices), rank, width, dtype)
    for name, arguments in (("bgmv_expand_slice", (indices,)), ("sgmv_expand_slice", metadata)):
        ours, theirs = before.clone(), before.clone()
        getattr(plugins, name)(inputs.float(), weights, ours, *arguments, 2, width, add)
        getattr(ops, name)(inputs.float(), weights, theirs, *arguments, 2, width, add)
        assert_equal_where_adapted(ours, theirs, before, indices)


def test_rows_without_an_index_are_refused() -> None:
    inputs, weights, output = tensors(4, 8, 2, torch.float32)
    with pytest.raises(ValueError, match="4 rows but 3 adapter indices"):
        plugins.bgmv_shrink(inputs, weights, output, torch.tensor([0, 0, 1]))


def test_vllm_on_the_cpu_uses_the_replacements() -> None:
    told = run("""
        import pickaxe_torch_plugins
        pickaxe_torch_plugins.install_vllm_plugins()
        from vllm.lora.punica_wrapper import punica_cpu
        print({getattr(punica_cpu, name).__module__ for name in pickaxe_torch_plugins._OPERATORS})
    """)
    assert told == "{'pickaxe_torch_plugins'}"


def test_torchvision_imports_in_a_fresh_process() -> None:
    assert run("import torchvision; print(torchvision.__name__)") == "torchvision"


def test_torch_imports_without_its_companions() -> None:
    told = run("""
        import sys
        for name in ("torchvision", "torchaudio", "torchcodec"):
            sys.modules[name] = None
        import torch
        print(hasattr(torch.ops.torchvision, "nms"), sys.modules["torchaudio"])
    """)
    assert told == "False None"


def test_what_loads_is_left_alone() -> None:
    code = """
        import pickaxe_torch_plugins
        pickaxe_torch_plugins._loads = lambda package, library: True
        import sys, torch
        print(hasattr(torch.ops.torchvision, "nms"), "torchaudio" in sys.modules)
    """
    assert run(code) == "False False"


@pytest.mark.parametrize("first", ["torch", "transformers"])
def test_transformers_and_its_processors_import_whichever_is_first(first: str) -> None:
    told = run(f"""
        import {first}
        from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor
        print(Qwen3VLProcessor.__name__)
    """)
    assert told == "Qwen3VLProcessor"


def test_a_stand_in_fails_at_its_first_use() -> None:
    stand_in = plugins._Unusable("torchaudio")
    with pytest.raises(AttributeError, match=r"torchaudio\.load: torchaudio's library can't load"):
        _ = stand_in.load


def test_a_failing_check_is_told_and_leaves_torch_importable() -> None:
    code = """
        import pickaxe_torch_plugins
        def fail(package, library):
            raise RuntimeError("torn library")
        pickaxe_torch_plugins._loads = fail
        import torch
        print(torch.ones(1).item())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1.0"
    assert done.stderr.count("torn library") == 1


def test_loading_the_vllm_hook_without_vllm_imports_nothing() -> None:
    told = run("""
        import sys
        from importlib.metadata import entry_points
        (hook,) = [e for e in entry_points(group="vllm.general_plugins") if e.name == "pickaxe"]
        hook.load()
        print([name for name in ("vllm", "torch", "configs", "cluster") if name in sys.modules])
    """)
    assert told == "[]"


CHILD = """
import multiprocessing, os, sys, time
import pickaxe_torch_plugins

def engine(pid_file, delay_s):
    time.sleep(delay_s)
    with open(pid_file, "w") as file:
        file.write(str(os.getpid()))
    pickaxe_torch_plugins._end_with_parent()
    time.sleep(60)

if __name__ == "__main__":
    arguments = (sys.argv[1], float(sys.argv[2]))
    multiprocessing.get_context("fork").Process(target=engine, args=arguments).start()
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
def test_a_child_ends_with_its_killed_parent(tmp_path: Path, delay_s: float) -> None:
    """With the delay the parent is gone before the child looks for the first time."""
    script, pid_file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(CHILD)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(pid_file), str(delay_s)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    if not delay_s:
        wait_for(pid_file.exists)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for(pid_file.exists)
    wait_for(lambda: pid_file.read_text() and not alive(int(pid_file.read_text())))


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_process_without_a_parent_process_is_not_watched() -> None:
    told = run("""
        import threading
        import pickaxe_torch_plugins
        pickaxe_torch_plugins._end_with_parent()
        print(threading.active_count())
    """)
    assert told == "1"
