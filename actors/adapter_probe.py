"""Runs inside vLLM's worker process: what of an adapter is really in use there."""

from typing import Any


class AdapterProbe:
    """Mixed into vLLM's worker class (`worker_extension_cls`), to answer collective_rpc."""

    model_runner: Any

    def adapter_modules(self, adapter_id: int) -> tuple[int, list[str]]:
        """How many modules of an adapter were loaded, and the names of those not in use.

        vLLM loads matrices for modules that it won't adapt, with no more than a warning; where it
        merges modules (q, k and v into one) it merges their matrices too.
        """
        manager = self.model_runner.lora_manager._adapter_manager
        adapter = manager.get_adapter(adapter_id)
        if adapter is None or adapter_id not in manager.lora_index_to_id:
            return 0, []
        loaded = 0
        for matrices in adapter.loras.values():
            parts = matrices.lora_a if isinstance(matrices.lora_a, list) else [matrices.lora_a]
            loaded += sum(part is not None for part in parts)
        return loaded, sorted(set(adapter.loras) - set(manager.modules))
