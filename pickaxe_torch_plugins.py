"""What other packages load by themselves: one hook of PyTorch's, one of vLLM's.

PyTorch runs `declare_torchvision_operators` at the end of `import torch` (entry point group
`torch.backends`), vLLM `install_vllm_plugins` in each of its processes (`vllm.general_plugins`).
A failure in the first would be a failed `import torch`, so it is told on stderr and no more.
Imports nothing of Pickaxe, and of others only what has been imported anyway.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_declared: list[Any] = []
"""Kept for ever: an operator goes when its library object does."""


def declare_torchvision_operators() -> None:
    """Let transformers import beside companions built for another torch (CUDA beside CPU).

    torchvision registers fake kernels for two operators of its C++ library; where that can't be
    loaded, `import torchvision` dies of their absence. Their names are enough for it; a call of one
    still fails, with torchvision's own words. A torchaudio or torchcodec that can't load gives way
    to a stand-in: transformers and vLLM import them wherever installed, and nothing here listens.
    """
    try:
        if not _loads("torchvision", "_C"):
            _declare("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declare("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name, library in (("torchaudio", "lib/_torchaudio"), ("torchcodec", _TORCHCODEC)):
            if not _loads(name, library):
                sys.modules.setdefault(name, _Unusable(name))
    except Exception as error:
        print(f"pickaxe: torch's companions may fail to import: {error!r}", file=sys.stderr)


_TORCHCODEC = "libtorchcodec_image"
"""The one of its libraries that it loads first, and that needs no FFmpeg."""


class _Unusable(ModuleType):
    """Imports, and fails at its first use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, loader=None)

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError(
            f"{self.__name__}.{attribute}: {self.__name__}'s library can't load beside this torch"
        )


def _loads(package: str, library: str) -> bool:
    """Whether a package's C++ library can be loaded; true where the package is absent.

    Loading is the only sure test; the package does the same at its import, again for nothing.
    """
    import torch

    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return True
    folder, name = os.path.split(os.path.join(found.submodule_search_locations[0], library))
    file = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(name)
    if file is None:
        return False
    operators: Any = torch.ops
    try:
        operators.load_library(file.origin)
    except OSError:
        return False
    return True


def _declare(schema: str) -> None:
    import torch

    libraries: Any = torch.library
    library = libraries.Library("torchvision", "FRAGMENT")
    library.define(schema)
    _declared.append(library)


def install_vllm_plugins() -> None:
    """Fast LoRA on the CPU, an end with the parent for engine processes, and a quieter log."""
    logging.getLogger("vllm.v1.worker.cpu_worker").addFilter(_is_not_about_threads)
    if multiprocessing.current_process().name.startswith(("EngineCore", "VllmWorker")):
        _end_with_parent()

    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.lora.punica_wrapper import punica_cpu

        for name in _OPERATORS:
            setattr(punica_cpu, name, globals()[name])


def _is_not_about_threads(record: logging.LogRecord) -> bool:
    """vLLM calls `torch.set_num_threads` each step and warns each step that it won't."""
    return "torch.set_num_threads" not in str(record.msg)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    pid = parent.pid

    def watch() -> None:
        # Not `parent.is_alive()`: its pipe stays open as long as any sibling has inherited it.
        while os.getppid() == pid:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="pickaxe-end-with-parent", daemon=True).start()


# ---- LoRA on the CPU ------------------------------------------------------------------------
# vLLM's operators copy the adapter's matrix once per token. These make one matrix product per
# adapter, over the rows that use it. Names, arguments and results are those of
# vllm/lora/ops/torch_ops/lora_ops.py, save that rows with index -1 (no adapter) are left alone.


_OPERATORS = (
    "bgmv_shrink",
    "bgmv_expand",
    "bgmv_expand_slice",
    "sgmv_shrink",
    "sgmv_expand",
    "sgmv_expand_slice",
)


def bgmv_shrink(
    inputs: "torch.Tensor",
    lora_b_weights: "torch.Tensor",
    output_tensor: "torch.Tensor",
    lora_indices_tensor: "torch.Tensor",
    scaling: float = 1.0,
) -> None:
    """output[row, :rank] = scaling * inputs[row] @ weights[index[row]].T"""
    for rows, chosen, matrix in _by_adapter(
        inputs, lora_b_weights, output_tensor, lora_indices_tensor
    ):
        output_tensor[rows, : matrix.shape[1]] = (chosen @ matrix).mul_(scaling)


def bgmv_expand(
    inputs: "torch.Tensor",
    lora_b_weights: "torch.Tensor",
    output_tensor: "torch.Tensor",
    lora_indices_tensor: "torch.Tensor",
    add_inputs: bool = True,
) -> None:
    """output[row] += inputs[row] @ weights[index[row]].T, as far as both are wide."""
    width = min(lora_b_weights.shape[-2], output_tensor.shape[1])
    for rows, chosen, matrix in _by_adapter(
        inputs, lora_b_weights, output_tensor, lora_indices_tensor
    ):
        _put(output_tensor[:, :width], rows, chosen, matrix[:, :width], add_inputs)


def bgmv_expand_slice(  # noqa: PLR0913 - vLLM's own signature
    inputs: "torch.Tensor",
    lora_b_weights: "torch.Tensor",
    output_tensor: "torch.Tensor",
    lora_indices_tensor: "torch.Tensor",
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """The same into some columns of the output."""
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    for rows, chosen, matrix in _by_adapter(
        inputs, lora_b_weights, output_tensor, lora_indices_tensor
    ):
        _put(columns, rows, chosen, matrix, add_inputs)


def _put(
    output: "torch.Tensor",
    rows: "slice | torch.Tensor",
    inputs: "torch.Tensor",
    matrix: "torch.Tensor",
    add: bool,
) -> None:
    if add and isinstance(rows, slice):
        output[rows].addmm_(inputs, matrix)  # no copy of the product: nearly twice as fast
    elif add:
        output[rows] += inputs @ matrix
    else:
        output[rows] = inputs @ matrix


def _by_adapter(
    inputs: "torch.Tensor",
    weights: "torch.Tensor",
    output: "torch.Tensor",
    indices: "torch.Tensor",
) -> Iterator[tuple[Any, "torch.Tensor", "torch.Tensor"]]:
    """(rows, their inputs, their adapter's matrix) for each adapter in `indices`."""
    import torch

    if weights.dim() == 4:
        weights = weights.squeeze(1)
    if indices.shape[0] != inputs.shape[0]:
        raise ValueError(f"{inputs.shape[0]} rows but {indices.shape[0]} adapter indices")
    num_rows = min(inputs.shape[0], output.shape[0])  # the output may be the shorter one
    inputs = inputs[:num_rows].to(output.dtype)
    index = indices[:num_rows].numpy()  # a step has hundreds of these: numpy's calls are cheaper
    for adapter in range(weights.shape[0]):
        chosen = index == adapter
        if not chosen.any():
            continue
        matrix = weights[adapter].to(output.dtype).t()
        if chosen.all():
            yield slice(0, num_rows), inputs, matrix
            return
        rows = torch.from_numpy(chosen.nonzero()[0])
        yield rows, inputs[rows], matrix


def _by_sequence(operator: Any) -> Any:
    """The same operator where the indices are given once per sequence (a prefill)."""

    def by_sequence(
        inputs: "torch.Tensor", weights: "torch.Tensor", output_tensor: "torch.Tensor", *rest: Any
    ) -> None:
        _starts, lengths, adapters, _num_sequences, _longest, _num_tokens, *arguments = rest
        indices = adapters.repeat_interleave(lengths)
        operator(inputs, weights, output_tensor, indices, *arguments)

    return by_sequence


sgmv_shrink = _by_sequence(bgmv_shrink)
sgmv_expand = _by_sequence(bgmv_expand)
sgmv_expand_slice = _by_sequence(bgmv_expand_slice)
