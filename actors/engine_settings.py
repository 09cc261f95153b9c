"""From an engine's configuration to vLLM's own settings: arguments and environment. Pure."""

from typing import Any

from configs.player import EngineConfig


def engine_environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables that vLLM reads at its import, for the process that will own it."""
    environment = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    if config.device == "cpu":
        # The model runs in the engine's own process, not in one more below it: that starts in two
        # thirds of the time and takes half a gigabyte less.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # Left to itself vLLM binds the engines of a machine to the same cores.
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        environment["OMP_NUM_THREADS"] = str(config.cores)
    return environment


def engine_arguments(model: str, config: EngineConfig) -> dict[str, Any]:
    """vLLM's `AsyncEngineArgs`, by name."""
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.enforce_eager,
        "limit_mm_per_prompt": {"image": config.max_images, "video": 0},
        # Frames hardly ever come twice; the cache would grow to gigabytes in two processes.
        "mm_processor_cache_gb": 0,
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
        "seed": 0,
    }
    if config.device == "cpu":
        # A request's own seed can't be had with chunked prefill on the CPU backend.
        arguments["enable_chunked_prefill"] = False
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * 2**30)
    else:
        arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
        arguments["tensor_parallel_size"] = config.tensor_parallel
    if config.lora is not None:
        arguments["enable_lora"] = True
        arguments["max_lora_rank"] = config.lora.max_rank
        arguments["max_loras"] = config.lora.max_versions
        arguments["enable_tower_connector_lora"] = config.lora.tower
        arguments["worker_extension_cls"] = "actors.adapter_probe.AdapterProbe"
    return arguments
